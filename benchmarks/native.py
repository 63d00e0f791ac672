# SPDX-License-Identifier: Apache-2.0
"""The native kernels and onnxruntime on the same bundle and machine: medians of paired ratios.

    python -m benchmarks.native                                        the default model
    python -m benchmarks.native --reference shufflenet_v1_x0_5_g3      224 px, 1000 classes, seeded weights
    python -m benchmarks.native --auto                                 the choice of `auto` against the best

Both are called as in the node, from the frame's bytes to logits and embedding, and alternate on one core.
Also measures what a call costs outside the kernels.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks.timing import alternate
from shufflenet_ros.backends.load import load
from shufflenet_ros.backends.native import NativeBackend
from shufflenet_ros.bundles.bundle import Bundle
from shufflenet_ros.bundles.index import read_index
from shufflenet_ros.bundles.locate import DEFAULT_MODEL
from shufflenet_ros.bundles.variants import PRECISIONS, precisions, resolve_variant
from shufflenet_ros.core.frame import Backend
from shufflenet_ros.datasets.calibration import reference_inputs

ROOT = Path(__file__).resolve().parents[1]
ROUNDS, FRAMES, CALLS = 60, 8, 2000
CALIBRATION_IMAGES = 4


def measure(model: str = DEFAULT_MODEL) -> dict[str, Any]:
    """Return the milliseconds per frame of each variant, and how many times faster than onnxruntime it is."""
    bundle, backends = every_backend(model)
    times = seconds_per_frame(bundle, backends)
    figures: dict[str, Any] = {'model': bundle.card.name, 'rounds': ROUNDS}
    for name, backend in backends.items():
        ratios = np.divide(times['onnxruntime'], times[name])
        low, middle, high = (round(float(q), 2) for q in np.percentile(ratios, (25, 50, 75)))
        figures[name] = {
            'runs': backend.provider, 'median_ms': round(1e3 * statistics.median(times[name]), 3),
            'times_faster': middle, 'quartiles': [low, high]}
    first = resolve_variant(bundle, 'native', precisions(bundle.card, 'native')[0])
    return figures | {'call_us': call_overhead_us(NativeBackend(first))}


def every_backend(model: str) -> tuple[Bundle, dict[str, Backend]]:
    """Return the bundle, and its backends: `onnxruntime`, and each native precision by name."""
    graph = load(model, backend='onnxruntime', precision='')
    native = {precision: load(model, backend='native', precision=precision).backend
              for precision in precisions(graph.card, 'native')}
    return graph.bundle, {'onnxruntime': graph.backend, **native}


def seconds_per_frame(bundle: Bundle, backends: dict[str, Backend]) -> dict[str, list[float]]:
    """Return the time that each backend takes for a frame, in each of ROUNDS."""
    frames = list(reference_inputs(bundle.card.input, FRAMES, seed=2).inputs[:, None])

    def run(backend: Backend) -> None:
        for frame in frames:
            backend.run(frame)

    functions: dict[str, Callable[[], None]] = {name: partial(run, backends[name]) for name in backends}
    return {name: [t / FRAMES for t in times] for name, times in alternate(functions, ROUNDS).items()}


def measure_auto() -> dict[str, Any]:
    """Return for each shipped bundle what auto chooses at a first start, and how much slower that is.

    The best is found in a longer run than auto's; the percentage is a median of paired ratios.
    """
    figures = {}
    for name in read_index(ROOT / 'models'):
        with tempfile.TemporaryDirectory() as cache, patch.dict(os.environ, XDG_CACHE_HOME=cache):
            chosen = load(name)
        times = seconds_per_frame(*every_backend(name))
        best = min(times, key=lambda key: statistics.median(times[key]))
        choice = 'onnxruntime' if chosen.backend.name == 'onnxruntime' else chosen.precision
        slower = float(np.median(np.divide(times[choice], times[best]))) - 1
        figures[name] = {'chose': choice, 'best': best, 'percent_slower': round(100 * slower, 1),
                         'timings': chosen.timings}
    return figures


def call_overhead_us(backend: NativeBackend) -> float:
    """Return the microseconds of NativeBackend.run without the kernels."""
    frame = np.zeros(backend._shape, np.uint8)
    run = backend._run

    def returns_at_once(context: int, *arguments: Any) -> int:
        run(None, *arguments)  # the same conversion of arguments; sn_run rejects the context NULL
        return 0

    def repeat() -> float:
        start = time.perf_counter()
        for _ in range(CALLS):
            backend.run(frame)
        return (time.perf_counter() - start) / CALLS

    with patch.object(backend, '_run', returns_at_once):
        return round(1e6 * min(repeat() for _ in range(5)), 2)


def packed_bundle(name: str, folder: Path) -> str:
    """Write a bundle of a reference network with all native variants; return its path."""
    from benchmarks.zoo import reference_bundle
    from shufflenet_ros.packer.pack import pack

    bundle = reference_bundle(name, folder)
    pack(bundle, PRECISIONS, reference_inputs(bundle.card.input, CALIBRATION_IMAGES))
    return str(bundle.path)


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks.native', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group()
    what.add_argument('--model', default=DEFAULT_MODEL, help='a bundle with native variants')
    what.add_argument('--auto', action='store_true', help='the choice of `auto` for each shipped bundle')
    what.add_argument('--reference', help='a network of the zoo; needs torch')
    args = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as folder:
        model = packed_bundle(args.reference, Path(folder)) if args.reference else args.model
        print(json.dumps(measure_auto() if args.auto else measure(model), indent=1))


if __name__ == '__main__':
    main()
