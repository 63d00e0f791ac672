# SPDX-License-Identifier: Apache-2.0
"""The inference time of the zoo's networks on this machine: one thread, 224x224, interleaved rounds.

    python -m benchmarks.zoo [NAME ...]

Prints each network's time relative to that of the first one in the same round (median over the rounds),
next to the ratio of their multiply-adds. Shared machines drift, but ratios within a round hardly change. The
weights are random, because time does not depend on them. Needs the extra `train`.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.arm.reference import reference_network
from benchmarks.timing import alternate
from shufflenet_ros.backends.ort import OnnxRuntimeBackend
from shufflenet_ros.bundles.bundle import Bundle, open_bundle
from shufflenet_ros.bundles.onnx_write import save_bundle
from shufflenet_ros.bundles.variants import resolve
from shufflenet_ros.zoo.errors import ZooError
from shufflenet_ros.zoo.export import make_card, to_onnx

NAMES = (
    'shufflenet_v1_x1_0_g1', 'shufflenet_v1_x1_0_g2', 'shufflenet_v1_x1_0_g3', 'shufflenet_v1_x1_0_g4',
    'shufflenet_v1_x1_0_g8', 'shufflenet_v1_x0_5_g3', 'shufflenet_v1_x0_25_g3', 'shufflenet_v2_x0_5',
    'shufflenet_v2_x1_0',
)
PX, CLASSES, ROUNDS = 224, 1000, 60


def reference_bundle(name: str, folder: Path) -> Bundle:
    """Export a reference network.

    Raises:
        ZooError: no such network.
    """
    model = reference_network(name, PX, CLASSES)
    path = folder / f'{name}.onnx'
    save_bundle(to_onnx(model, PX), make_card(model, name, [f'class {i}' for i in range(CLASSES)], PX), path)
    return open_bundle(str(path))


def main(names: Sequence[str]) -> None:
    """Measure and print."""
    frame = np.random.default_rng(0).integers(0, 256, (1, PX, PX, 3), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        bundles = {name: reference_bundle(name, Path(folder)) for name in names}
        backends = {name: OnnxRuntimeBackend(resolve(bundle)) for name, bundle in bundles.items()}
    times = alternate({name: partial(backend.run, frame) for name, backend in backends.items()}, ROUNDS)
    macs = {name: bundle.card.cost['macs'] for name, bundle in bundles.items()}
    first = names[0]
    print(f'{"network":<28}{"M MACs":>9}{"ms":>8}{"time":>8}{"MACs":>8}   (relative to {first})')
    for name in names:
        ratio = statistics.median(b / a for a, b in zip(times[first], times[name]))
        print(f'{name:<28}{macs[name] / 1e6:>9.1f}{1e3 * statistics.median(times[name]):>8.2f}{ratio:>8.2f}'
              f'{macs[name] / macs[first]:>8.2f}')


if __name__ == '__main__':
    parser = argparse.ArgumentParser(prog='python -m benchmarks.zoo', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('names', nargs='*', metavar='NAME', help=f'networks (default: {" ".join(NAMES)})')
    try:
        main(parser.parse_args().names or NAMES)
    except ZooError as error:
        parser.error(str(error))
