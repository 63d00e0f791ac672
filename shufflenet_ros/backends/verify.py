# SPDX-License-Identifier: Apache-2.0
"""Start a model's backend and verify that it does what the card says: the right logits, and no NaN.

A runtime can abort on a malformed file, so an untrusted model is first verified in a child process with
limits. The child is this module, run with `python -m`. It gets the same bytes that the parent will use.
"""

import os
import pickle
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shufflenet_ros.bundles.bundle import Bundle
from shufflenet_ros.bundles.errors import ModelError, mismatch
from shufflenet_ros.bundles.golden import GOLDEN_LOGITS, golden_image
from shufflenet_ros.bundles.variants import ResolvedModel, VariantUnavailableError, resolve
from shufflenet_ros.core.card import Card, Golden
from shufflenet_ros.core.console import prepare_streams, say
from shufflenet_ros.core.frame import F32, Backend, DecodedImage
from shufflenet_ros.core.preprocess import preprocess

DISTANCES: Mapping[str, float] = {'fp32': 1e-3, 'fp16': 0.05, 'int8': 0.3}
"""How far a variant's logits for the smooth test image may be from those of the bundle's own graph: the
length of the difference, relative to the length of the graph's. Another image's logits are at least 0.8 away,
and so is a network with a broken stem or head; one broken operation in a late unit can be as near as 0.15.
It does not measure accuracy: only labeled images do (`shufflenet-ros evaluate`)."""

_PACKAGE_PARENT = Path(__file__).resolve().parents[2]
_REJECTED, _UNAVAILABLE = 3, 4  # exit statuses of the child


def start(model: ResolvedModel, provider: str = 'cpu', threads: int = 1) -> Backend:
    """A backend with the file loaded and checked against its card; `verify` comes next.

    Args:
        provider, threads: of onnxruntime; the native kernels run on one CPU core.

    Raises:
        VariantUnavailableError: this machine lacks the backend.
        ModelError: the file or its card cannot be used.
    """
    # Imported here: a robot that runs native kernels keeps onnxruntime out of memory.
    if model.backend == 'native':
        from shufflenet_ros.backends.native import NativeBackend
        return NativeBackend(model)
    from shufflenet_ros.backends.ort import OnnxRuntimeBackend
    return OnnxRuntimeBackend(model, provider, threads)


def verify(backend: Backend, model: ResolvedModel) -> None:
    """Run a golden, a black and a white image, which also warms the backend up, and check the results.

    A model with golden logits must give them, in int8 to the bit. A variant without any must be within
    DISTANCES of the bundle's graph in onnxruntime.

    Raises:
        ModelError: no result, one that is not finite, or one that is too far from the expected.
    """
    what, card, golden = str(model.path), model.card, model.golden
    try:
        _check_finite(backend, card, what)
    except ModelError:
        raise
    except Exception as error:
        cause = f'{type(error).__name__}: {" ".join(str(error).split())[:300]}'
        raise mismatch(what, 'a result for a test image', cause,
                       'check the card, or export the model again') from error
    if golden is not None:
        if (off := golden_error(backend, card, golden)) > golden.tolerance:
            raise mismatch(what, f'the golden logits within {golden.tolerance:g} of the largest',
                           f'{off:.3g} off on {backend.provider}',
                           'check input.* of the card, or choose another provider')
    elif model.variant is not None:
        limit = DISTANCES[model.precision]
        if (off := distance(backend, model.bundle)) > limit:
            raise mismatch(what, f"logits within {limit:g} of the graph's for the smooth test image",
                           f'{off:.3g} on {backend.provider}', f'export {model.bundle.path.name} again')


def _check_finite(backend: Backend, card: Card, what: str) -> None:
    size = card.input.size
    flat = [DecodedImage(np.full((*size, 3), value, np.uint8), 'rgb') for value in (0, 255)]
    for image in (golden_image(size), *flat):
        outputs = backend.run(preprocess(image, card.input))
        for role, values in (('logits', outputs.logits), ('embedding', outputs.embedding)):
            if values is not None and not np.isfinite(values).all():
                raise mismatch(what, f'finite {role}', 'NaN or infinity for a test image',
                               'check the card (input.scale, mean, std), or export the model again')


def golden_error(backend: Backend, card: Card, golden: Golden) -> float:
    """The largest difference from the golden logits, relative to the largest of them."""
    expected = np.asarray(golden.logits, np.float64)
    logits = _golden_logits(backend, card, len(expected))
    if logits.shape != expected.shape:
        return float('inf')
    return float(np.abs(logits - expected).max() / max(np.abs(expected).max(), 1e-12))


def golden_of(backend: Backend, card: Card, tolerance: float) -> Golden:
    """The golden logits that the backend gives now, for a card."""
    return Golden(tuple(map(float, _golden_logits(backend, card, GOLDEN_LOGITS))), tolerance)


def _golden_logits(backend: Backend, card: Card, count: int) -> F32:
    return backend.run(preprocess(golden_image(card.input.size), card.input)).logits[:count]


def smooth_test_image(size: tuple[int, int]) -> DecodedImage:
    """(H, W, 3) uint8 RGB, one slow wave: 128 + 100 sin(3 y / H + 5 x / W + c).

    The golden image is noise, unlike anything that int8 is calibrated on, so it drives values out of their
    ranges: good int8 variants of our models are up to 1.4 away there, but at most 0.11 here.
    """
    y, x, c = np.ogrid[:size[0], :size[1], :3]
    return DecodedImage((128 + 100 * np.sin(3 * y / size[0] + 5 * x / size[1] + c)).astype(np.uint8), 'rgb')


def distance(backend: Backend, bundle: Bundle) -> float:
    """How far a variant's logits for the smooth test image are from the graph's; see DISTANCES."""
    tensor = preprocess(smooth_test_image(bundle.card.input.size), bundle.card.input)
    expected = start(resolve(bundle)).run(tensor).logits.astype(np.float64)
    difference = np.linalg.norm(backend.run(tensor).logits - expected)
    return float(difference / max(float(np.linalg.norm(expected)), 1e-12))


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
    command = [sys.executable, '-m', __name__, str(limits.memory), str(limits.cpu_s)]
    # One thread: OpenBLAS reserves tens of MB of address space for each.
    environment = os.environ | {'OPENBLAS_NUM_THREADS': '1', 'OMP_NUM_THREADS': '1'}
    try:
        # From the package's parent folder, `-m` finds this package, no matter what the user's folder holds.
        done = subprocess.run(command, input=pickle.dumps(model), cwd=_PACKAGE_PARENT, env=environment,
                              capture_output=True, timeout=limits.wall_s)
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


def set_limits(memory: int, cpu_s: int) -> None:
    """Limit the address space of this process, in bytes, and its CPU time; no core dump.

    Only the soft limits: at the soft limit of CPU time the kernel sends SIGXCPU, which tells the parent why
    the child ended.
    """
    limits = {resource.RLIMIT_CORE: 0, resource.RLIMIT_AS: memory, resource.RLIMIT_CPU: cpu_s}
    for kind, value in limits.items():
        _, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def main() -> int:
    """The child: 0 for a good model; 3 for a bad one, 4 if it cannot run here, with the cause on stdout."""
    prepare_streams()
    try:
        set_limits(*map(int, sys.argv[1:]))
        model: ResolvedModel = pickle.load(sys.stdin.buffer)  # from the parent, which is this program too
        verify(start(model), model)
    except Exception as error:
        say(' '.join((str(error) or type(error).__name__).split()))
        return _UNAVAILABLE if isinstance(error, VariantUnavailableError) else _REJECTED
    return 0


if __name__ == '__main__':
    sys.exit(main())
