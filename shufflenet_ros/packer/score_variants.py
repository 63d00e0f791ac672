"""What a variant is worth: its accuracy on a labeled set, measured on its file, kept in its card entry."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from shufflenet_ros.backends.load import load
from shufflenet_ros.bundles.bundle import open_bundle
from shufflenet_ros.bundles.index import renew_entry
from shufflenet_ros.bundles.onnx_metadata import with_metadata
from shufflenet_ros.core.card import METADATA_KEY
from shufflenet_ros.core.console import say
from shufflenet_ros.core.files import write_whole
from shufflenet_ros.core.reasons import printable
from shufflenet_ros.datasets.holdout import HELD_OUT, holdout_split
from shufflenet_ros.datasets.labeled_dataset import LabeledDataset
from shufflenet_ros.datasets.open_dataset import open_dataset
from shufflenet_ros.datasets.score import accuracy


def validation_subset(path: Path) -> LabeledDataset:
    """A set's validation split; of a set without splits what `evaluate --held-out` judges by.

    Raises:
        DatasetError: no set, or one with splits and none for validation.
    """
    dataset = open_dataset(path)
    return dataset if dataset.split else holdout_split(dataset)[1]


def measure(path: Path, dataset: LabeledDataset, precision: str) -> dict[str, Any]:
    """What `accuracy` gives of a native variant, on which kernels, and the command that repeats it.

    Args:
        precision: of the variant; '' for the bundle's own graph in onnxruntime.

    Raises:
        ModelError: the variant cannot run here.
        DatasetError: the set's classes are no labels of the model, or no image can be scored.
    """
    loaded = load(str(path), backend='native' if precision else 'onnxruntime', precision=precision)
    found = accuracy(loaded, dataset)
    how = ' --held-out' if dataset.split == HELD_OUT else ''
    how += f' --model {loaded.card.name}' + (f' --precision {precision}' if precision else '')
    command = f'shufflenet-ros evaluate {printable(dataset.path.name)}{how}'
    say(f'{path.name} {precision or "graph"}: top-1 {100 * found["top1"]:.2f} % of {found["images"]} images',
        to=sys.stderr)
    return found | {'kernels': loaded.backend.provider, 'command': command}


def keep(path: Path, metrics: Mapping[str, Mapping[str, Any]]) -> None:
    """Write metrics (precision -> figures, '' for the graph) into a bundle's card and its native variants."""
    bundle = open_bundle(str(path))
    variants = tuple(
        replace(v, metrics=metrics[v.precision]) if v.backend == 'native' and v.precision in metrics else v
        for v in bundle.card.variants)
    own = {**bundle.card.metrics, **metrics.get('', {})}
    card = replace(bundle.card, variants=variants, metrics=own)
    write_whole(path, with_metadata(bundle.data, METADATA_KEY, card.to_json()))
    renew_entry(path, card.name)


def score_variants(path: Path, dataset: LabeledDataset, precisions: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Measure a bundle's native variants on a set, and keep what comes out.

    The graph is measured too where its card has no figure yet: what a variant loses is the difference.

    Raises:
        ModelError, DatasetError: as `measure`.
    """
    graph = [] if 'top1' in open_bundle(str(path)).card.metrics else ['']
    metrics = {precision: measure(path, dataset, precision) for precision in [*graph, *precisions]}
    keep(path, metrics)
    return metrics
