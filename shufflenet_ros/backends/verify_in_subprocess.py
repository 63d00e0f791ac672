# SPDX-License-Identifier: Apache-2.0
"""Verify an untrusted model in a child process with limits: a runtime can abort on a malformed file.

The child is this module, run with `python -m`. Its standard input is the card as one line of JSON, the
bundle's bytes, then those of the variant to verify, if any: the very bytes that the parent will use.
"""

import os
import resource
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from shufflenet_ros.bundles.bundle import Bundle
from shufflenet_ros.bundles.errors import ModelError
from shufflenet_ros.bundles.files import sha256_of
from shufflenet_ros.bundles.onnx_file import read_summary
from shufflenet_ros.bundles.variants import ResolvedModel, VariantUnavailableError, resolve
from shufflenet_ros.core.card import parse_card
from shufflenet_ros.core.console import prepare_streams, say

_PACKAGE_PARENT = Path(__file__).resolve().parents[2]
_REJECTED, _UNAVAILABLE = 3, 4  # exit statuses of the child
_OWN_GRAPH = -1


@dataclass(frozen=True)
class ProcessLimits:
    """What the child may use: address space in bytes, seconds of CPU time, seconds of wall time.

    A session of our models needs 0.6 GB of address space and 0.5 s.
    """

    memory: int = 2 << 30
    cpu_s: int = 10
    wall_s: float = 12.0


def verify_in_subprocess(model: ResolvedModel, limits: ProcessLimits = ProcessLimits()) -> None:
    """Load and run the model in a child process, on the CPU.

    Raises:
        VariantUnavailableError: this machine lacks what the model needs.
        ModelError: the child rejected it, died, or reached a limit.
    """
    bundle = model.bundle
    index = _OWN_GRAPH if model.variant is None else bundle.card.variants.index(model.variant)
    command = [sys.executable, '-m', __name__, str(limits.memory), str(limits.cpu_s), str(bundle.path),
               str(len(bundle.data)), str(index)]
    sent = b'\n'.join((bundle.card.to_json().encode(), bundle.data)) + (model.data if model.variant else b'')
    # One thread: OpenBLAS reserves tens of MB of address space for each.
    environment = os.environ | {'OPENBLAS_NUM_THREADS': '1', 'OMP_NUM_THREADS': '1'}
    try:
        # From the package's parent folder, `-m` finds this package, no matter what the user's folder holds.
        done = subprocess.run(command, input=sent, cwd=_PACKAGE_PARENT, env=environment, capture_output=True,
                              timeout=limits.wall_s)
    except subprocess.TimeoutExpired as error:
        raise _failed(model.path, f'took longer than {limits.wall_s:g} s') from error
    cause = done.stdout.decode('utf-8', 'replace').strip()
    if done.returncode == _UNAVAILABLE:
        raise VariantUnavailableError(cause)
    if done.returncode == _REJECTED:
        raise ModelError(f'model rejected: {cause}')
    if done.returncode == -signal.SIGXCPU:
        raise _failed(model.path, f'used more than {limits.cpu_s} s of CPU time')
    if done.returncode:
        last = done.stderr.decode('utf-8', 'replace').strip().splitlines()[-1:]
        ending = f'signal {-done.returncode}' if done.returncode < 0 else f'exit status {done.returncode}'
        raise _failed(model.path, f'ended with {ending}' + ''.join(f' ({line[:200]})' for line in last))


def _failed(path: Path, ending: str) -> ModelError:
    return ModelError(f'model rejected: its test process {ending}: {path}; '
                      'expected a model that loads and gives results for three images; export it again')


def _lower_limit(kind: int, value: int) -> None:
    """Lower a soft limit, unless the process started with an even lower one.

    The hard limit stays: at the soft CPU limit the kernel's SIGXCPU tells the parent why the child ended.
    """
    _, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def set_limits(memory: int, cpu_s: int) -> None:
    """Limit this process to so many bytes of address space and seconds of CPU time; no core dump."""
    _lower_limit(resource.RLIMIT_CORE, 0)
    _lower_limit(resource.RLIMIT_AS, memory)
    _lower_limit(resource.RLIMIT_CPU, cpu_s)


def verify_here(path: Path, card_text: bytes, data: bytes, variant_data: bytes = b'',
                index: int = _OWN_GRAPH) -> None:
    """What the child does: load and run the bundle at path, or the card's variant of this index.

    Raises:
        ModelError, CardError: the model is rejected.
    """
    # The runtimes are loaded under the limits, in the child alone.
    from shufflenet_ros.backends.start import start
    from shufflenet_ros.backends.verify import verify
    card = parse_card(card_text)
    model = resolve(Bundle(path, data, sha256_of(data), card, 'parent', read_summary(data), trusted=False))
    if index != _OWN_GRAPH:
        variant = card.variants[index]
        model = ResolvedModel(model.bundle, variant, path.with_name(variant.file), variant_data,
                              variant.sha256, trusted=False)
    verify(start(model), model)


def main() -> int:
    """The child: 0 for a good model; 3 for a bad one, 4 if it cannot run here, with the cause on stdout."""
    prepare_streams()
    try:
        memory, cpu_s, path, length, index = sys.argv[1:]
        set_limits(int(memory), int(cpu_s))
        card, data = sys.stdin.buffer.readline(), sys.stdin.buffer.read(int(length))
        verify_here(Path(path), card, data, sys.stdin.buffer.read(), int(index))
    except Exception as error:
        say(' '.join((str(error) or type(error).__name__).split()))
        return _UNAVAILABLE if isinstance(error, VariantUnavailableError) else _REJECTED
    return 0


if __name__ == '__main__':
    sys.exit(main())
