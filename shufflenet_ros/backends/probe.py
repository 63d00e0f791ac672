"""Prove an untrusted model in a child process with limits: a runtime can abort on a malformed file.

The child is `python -m shufflenet_ros.backends.probe`; it gets the card as one line of JSON and then the
file's bytes on its standard input, so that what is proved is what the parent goes on to use.
"""

import os
import resource
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from shufflenet_ros.backends.bundle import Bundle
from shufflenet_ros.backends.errors import ModelError
from shufflenet_ros.backends.files import sha256_of
from shufflenet_ros.backends.onnx_file import read_facts
from shufflenet_ros.core.card import parse_card

_PACKAGE_PARENT = Path(__file__).resolve().parents[2]
_REFUSED = 3


@dataclass(frozen=True)
class Limits:
    """What a probe may use: address space in bytes, seconds of processor time, seconds by the clock.

    A session of our models needs 0.6 GB of address space and 0.5 s.
    """

    memory: int = 2 << 30
    cpu_s: int = 10
    wall_s: float = 12.0


def prove_apart(bundle: Bundle, limits: Limits = Limits()) -> None:
    """Load and run the bundle in a child process, on the CPU.

    Raises:
        ModelError: the child refused it, died, or reached a limit.
    """
    command = [sys.executable, '-m', 'shufflenet_ros.backends.probe',
               str(limits.memory), str(limits.cpu_s), str(bundle.path)]
    # One thread: OpenBLAS reserves tens of MB of address space for each.
    environment = os.environ | {'OPENBLAS_NUM_THREADS': '1', 'OMP_NUM_THREADS': '1'}
    try:
        # In the package's own folder, `-m` finds this very package and nothing of the user's folder.
        done = subprocess.run(command, input=bundle.card.to_json().encode() + b'\n' + bundle.data,
                              cwd=_PACKAGE_PARENT, env=environment, capture_output=True,
                              timeout=limits.wall_s)
    except subprocess.TimeoutExpired as error:
        raise _rejected(bundle, f'took longer than {limits.wall_s:g} s') from error
    if done.returncode == _REFUSED:
        raise ModelError(f'model rejected: {done.stdout.decode("utf-8", "replace").strip()}')
    if done.returncode == -signal.SIGXCPU:
        raise _rejected(bundle, f'used more than {limits.cpu_s} s of processor time')
    if done.returncode:
        last = done.stderr.decode('utf-8', 'replace').strip().splitlines()[-1:]
        ending = f'signal {-done.returncode}' if done.returncode < 0 else f'exit status {done.returncode}'
        raise _rejected(bundle, f'ended with {ending}' + ''.join(f' ({line[:200]})' for line in last))


def _rejected(bundle: Bundle, ending: str) -> ModelError:
    return ModelError(f'model rejected: probe {ending}: {bundle.path}; '
                      'expected a model that loads and answers three pictures; export it again')


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


def prove_here(path: Path, card_text: bytes, data: bytes) -> None:
    """What the child does: load and run the model in this process.

    Raises:
        ModelError, CardError: the model is refused.
    """
    # The runtime is loaded under the limits, in the child alone.
    from shufflenet_ros.backends.ort import OnnxRuntimeBackend
    from shufflenet_ros.backends.prove import prove
    card = parse_card(card_text)
    bundle = Bundle(path, data, sha256_of(data), card, 'parent', read_facts(data), trusted=False)
    prove(OnnxRuntimeBackend(bundle), card, str(path))


def main() -> int:
    """The child: 0 for a good model, 3 with the cause on stdout for a bad one."""
    try:
        limit(int(sys.argv[1]), int(sys.argv[2]))
        prove_here(Path(sys.argv[3]), sys.stdin.buffer.readline(), sys.stdin.buffer.read())
    except Exception as error:
        print(' '.join((str(error) or type(error).__name__).split()))
        return _REFUSED
    return 0


if __name__ == '__main__':
    sys.exit(main())
