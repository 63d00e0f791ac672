"""Our kernels against onnxruntime on the same bundle, on this machine: medians of paired ratios in one run.

    python -m benchmarks.native                                        the default model
    python -m benchmarks.native --reference shufflenet_v1_x0_5_g3      224 px, 1000 classes, seeded weights
    python -m benchmarks.native --auto                                 what `auto` chooses, against the best

Both are called as the node calls them, from the frame's bytes to logits and embedding, in turns on one core,
so that a busy phase of the machine meets both. Also what the call costs beside the kernels' own time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from shufflenet_ros.backends.load import load
from shufflenet_ros.backends.native import NativeBackend
from shufflenet_ros.bundles.bundle import Bundle, open_bundle
from shufflenet_ros.bundles.index import read_index
from shufflenet_ros.bundles.locate import DEFAULT_MODEL
from shufflenet_ros.bundles.variants import precisions, resolve_variant
from shufflenet_ros.core.frame import Backend
from shufflenet_ros.datasets.calibration import reference_inputs

ROOT = Path(__file__).resolve().parents[1]
ROUNDS, FRAMES, CALLS = 60, 8, 2000
CALIBRATION_IMAGES = 4


def measure(model: str = DEFAULT_MODEL) -> Mapping[str, Any]:
    """Of a bundle with native variants: milliseconds a frame, and how many times faster than onnxruntime."""
    bundle, backends = every_backend(model)
    times = in_turns(bundle, backends)
    figures: dict[str, Any] = {'model': bundle.card.name, 'rounds': ROUNDS}
    for name, backend in backends.items():
        ratios = np.divide(times['onnxruntime'], times[name])
        low, middle, high = (round(float(q), 2) for q in np.percentile(ratios, (25, 50, 75)))
        figures[name] = {
            'runs': backend.provider, 'median_ms': round(1e3 * statistics.median(times[name]), 3),
            'times_faster': middle, 'quartiles': [low, high]}
    model = resolve_variant(bundle, 'native', precisions(bundle.card, 'native')[0])
    return figures | {'call_us': call_overhead(NativeBackend(model))}


def every_backend(model: str) -> tuple[Bundle, dict[str, Backend]]:
    """The bundle, and what runs it: `onnxruntime`, and each native precision by its name."""
    graph = load(model, backend='onnxruntime', precision='')
    native = {precision: load(model, backend='native', precision=precision).backend
              for precision in precisions(graph.card, 'native')}
    return graph.bundle, {'onnxruntime': graph.backend, **native}


def in_turns(bundle: Bundle, backends: Mapping[str, Backend]) -> dict[str, list[float]]:
    """Seconds a frame in each of ROUNDS, the backends in turns."""
    frames = list(reference_inputs(bundle.card.input, FRAMES, seed=2).inputs[:, None])
    times: dict[str, list[float]] = {name: [] for name in backends}
    for _ in range(ROUNDS):
        for name, backend in backends.items():
            backend.run(frames[0])
            start = time.perf_counter()
            for frame in frames:
                backend.run(frame)
            times[name].append((time.perf_counter() - start) / FRAMES)
    return times


def measure_auto() -> Mapping[str, Any]:
    """Of each shipped bundle: what auto chose here at a first start, and how much slower it is than the best.

    The best is found in a longer run than auto takes, in turns; percent, by the median of paired ratios.
    """
    figures = {}
    for name in read_index(ROOT / 'models'):
        with tempfile.TemporaryDirectory() as cache, patch.dict(os.environ, XDG_CACHE_HOME=cache):
            chosen = load(name)
        bundle, backends = every_backend(name)
        times = in_turns(bundle, backends)
        best = min(times, key=lambda key: statistics.median(times[key]))
        taken = 'onnxruntime' if chosen.backend.name == 'onnxruntime' else chosen.precision
        slower = float(np.median(np.divide(times[taken], times[best]))) - 1
        figures[name] = {'chose': taken, 'best': best, 'percent_slower': round(100 * slower, 1),
                         'timings': chosen.timings}
    return figures


def call_overhead(backend: NativeBackend) -> float:
    """Microseconds of NativeBackend.run that are not the kernels': with a function that returns at once."""
    frame = np.zeros(backend._shape, np.uint8)

    def best(call: Callable[[], object]) -> float:
        def once() -> float:
            start = time.perf_counter()
            for _ in range(CALLS):
                call()
            return (time.perf_counter() - start) / CALLS
        return min(once() for _ in range(5))

    really, backend._run = backend._run, _returns_at_once(backend._run)
    try:
        return round(1e6 * best(lambda: backend.run(frame)), 2)
    finally:
        backend._run = really


def _returns_at_once(run: Any) -> Any:
    """sn_run with the same types of arguments, for a context of NULL: it refuses, and that counts as done."""
    def call(context: int, *arguments: Any) -> int:
        run(None, *arguments)
        return 0
    return call


def reference_bundle(name: str, folder: Path) -> str:
    """A bundle of a network of the zoo with seeded weights and all native variants; its path. Needs torch."""
    from benchmarks.arm.reference import PX, reference_onnx
    from shufflenet_ros.bundles.onnx_write import save_bundle
    from shufflenet_ros.core.card import Card, CardInput
    from shufflenet_ros.packer.network import PRECISIONS
    from shufflenet_ros.packer.pack import pack

    path = folder / f'{name}.onnx'
    spec = CardInput(layout='NHWC', dtype='uint8', size=(PX, PX), color='rgb')
    labels = tuple(str(index) for index in range(1000))
    dim = load_dim(graph := reference_onnx(name))
    save_bundle(graph, Card(name, name, labels, spec, {'logits': 'logits', 'embedding': 'embedding'},
                            embedding={'dim': dim, 'layer': 'global average pool'}), path)
    pack(open_bundle(str(path)), PRECISIONS, reference_inputs(spec, CALIBRATION_IMAGES))
    return str(path)


def load_dim(graph: bytes) -> int:
    """Length of the embedding that a graph declares."""
    import onnx
    outputs = {value.name: value for value in onnx.load_from_string(graph).graph.output}
    return int(outputs['embedding'].type.tensor_type.shape.dim[1].dim_value)


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group()
    what.add_argument('--model', default=DEFAULT_MODEL, help='a bundle with native variants')
    what.add_argument('--auto', action='store_true', help='the choice for each shipped bundle')
    what.add_argument('--reference', help='a network of the zoo; needs torch')
    args = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    if args.auto:
        print(json.dumps(measure_auto(), indent=1))
        return
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(reference_bundle(args.reference, Path(folder)) if args.reference
                                 else args.model), indent=1))


if __name__ == '__main__':
    main()
