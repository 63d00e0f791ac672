"""Verify an untrusted model in a child process with limits: a runtime can abort on a malformed file.

The child is `python -m shufflenet_ros.backends.verify_in_subprocess`; on its standard input it gets the card as one line of
JSON, then the file's bytes, then those of a native variant where one is to be verified, so that what is verified
is what the parent goes on to use.
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
from shufflenet_ros.bundles.onnx_file import read_facts
from shufflenet_ros.bundles.variants import VariantFile, VariantUnavailableError, find_variant
from shufflenet_ros.core.card import parse_card
from shufflenet_ros.core.console import prepare_streams, say

_PACKAGE_PARENT = Path(__file__).resolve().parents[2]
_REFUSED, _CANNOT_RUN = 3, 4


@dataclass(frozen=True)
class ProcessLimits:
    """What a probe may use: address space in bytes, seconds of processor time, seconds by the clock.

    A session of our models needs 0.6 GB of address space and 0.5 s.
    """

    memory: int = 2 << 30
    cpu_s: int = 10
    wall_s: float = 12.0


def verify_in_subprocess(bundle: Bundle, limits: ProcessLimits = ProcessLimits(), native: VariantFile | None = None) -> None:
    """Load and run the bundle, or a native variant of it, in a child process, on the CPU.

    Raises:
        VariantUnavailableError: a native variant that no kernel of this library and CPU runs.
        ModelError: the child refused it, died, or reached a limit.
    """
    path, precision = (native.path, native.variant.precision) if native else (bundle.path, '')
    command = [sys.executable, '-m', 'shufflenet_ros.backends.verify_in_subprocess', str(limits.memory), str(limits.cpu_s),
               str(bundle.path), str(len(bundle.data)), precision]
    sent = b'\n'.join((bundle.card.to_json().encode(), bundle.data)) + (native.data if native else b'')
    # One thread: OpenBLAS reserves tens of MB of address space for each.
    environment = os.environ | {'OPENBLAS_NUM_THREADS': '1', 'OMP_NUM_THREADS': '1'}
    try:
        # In the package's own folder, `-m` finds this very package and nothing of the user's folder.
        done = subprocess.run(command, input=sent, cwd=_PACKAGE_PARENT, env=environment, capture_output=True,
                              timeout=limits.wall_s)
    except subprocess.TimeoutExpired as error:
        raise _rejected(path, f'took longer than {limits.wall_s:g} s') from error
    said = done.stdout.decode('utf-8', 'replace').strip()
    if done.returncode == _CANNOT_RUN:
        raise VariantUnavailableError(said)
    if done.returncode == _REFUSED:
        raise ModelError(f'model rejected: {said}')
    if done.returncode == -signal.SIGXCPU:
        raise _rejected(path, f'used more than {limits.cpu_s} s of processor time')
    if done.returncode:
        last = done.stderr.decode('utf-8', 'replace').strip().splitlines()[-1:]
        ending = f'signal {-done.returncode}' if done.returncode < 0 else f'exit status {done.returncode}'
        raise _rejected(path, f'ended with {ending}' + ''.join(f' ({line[:200]})' for line in last))


def _rejected(path: Path, ending: str) -> ModelError:
    return ModelError(f'model rejected: probe {ending}: {path}; '
                      'expected a model that loads and answers three images; export it again')


def _limit(kind: int, value: int) -> None:
    """Lower a soft limit, unless an even lower one came with the process.

    The hard limit stays: at the soft CPU limit the kernel's SIGXCPU tells the parent why the child ended.
    """
    _, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def limit(memory: int, cpu_s: int) -> None:
    """Hold this process to so many bytes of address space and seconds of processor time; no core dump."""
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_AS, memory)
    _limit(resource.RLIMIT_CPU, cpu_s)


def verify_here(path: Path, card_text: bytes, data: bytes, native: bytes = b'', precision: str = '') -> None:
    """What the child does: load and run the model, or its native variant of a precision, in this process.

    Raises:
        ModelError, CardError: the model is refused.
    """
    # The runtimes are loaded under the limits, in the child alone.
    from shufflenet_ros.backends.verify import verify, verify_variant
    card = parse_card(card_text)
    bundle = Bundle(path, data, sha256_of(data), card, 'parent', read_facts(data), trusted=False)
    if not precision:
        from shufflenet_ros.backends.ort import OnnxRuntimeBackend
        verify(OnnxRuntimeBackend(bundle), card, str(path))
        return
    from shufflenet_ros.backends.native import NativeBackend
    variant = find_variant(card, 'native', precision)
    assert variant is not None, 'the parent found it in this card'
    file = VariantFile(variant, path.with_name(variant.file), native, trusted=False)
    verify_variant(NativeBackend(bundle, precision, file=file), bundle, precision, str(file.path))


def main() -> int:
    """The child: 0 for a good model, 3 with the cause on stdout for a bad one, 4 where it cannot run here."""
    prepare_streams()
    try:
        memory, cpu_s, path, length, precision = sys.argv[1:]
        limit(int(memory), int(cpu_s))
        card, data = sys.stdin.buffer.readline(), sys.stdin.buffer.read(int(length))
        verify_here(Path(path), card, data, sys.stdin.buffer.read(), precision)
    except Exception as error:
        say(' '.join((str(error) or type(error).__name__).split()))
        return _CANNOT_RUN if isinstance(error, VariantUnavailableError) else _REFUSED
    return 0


if __name__ == '__main__':
    sys.exit(main())
