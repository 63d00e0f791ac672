# SPDX-License-Identifier: Apache-2.0
"""Measure the accuracy of native variants on a dataset and write it into their card entries."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from shufflenet_ros.backends.load import load
from shufflenet_ros.bundles.bundle import open_bundle
from shufflenet_ros.core.console import say
from shufflenet_ros.core.text import printable
from shufflenet_ros.datasets.holdout import HELD_OUT, holdout_split
from shufflenet_ros.datasets.labeled_dataset import LabeledDataset
from shufflenet_ros.datasets.open_dataset import open_dataset
from shufflenet_ros.datasets.score import accuracy
from shufflenet_ros.packer.pack import write_with_card


def validation_subset(path: Path) -> LabeledDataset:
    """A dataset's validation split; without splits, the images of `evaluate --held-out`.

    Raises:
        DatasetError: no dataset, or one with splits but none for validation.
    """
    dataset = open_dataset(path)
    return dataset if dataset.split else holdout_split(dataset)[1]


def score_variants(path: Path, dataset: LabeledDataset, precisions: Sequence[str]
                   ) -> dict[str, dict[str, Any]]:
    """Measure a bundle's native variants and store the figures in its card.

    The graph is measured too if the card has no figure for it: the difference is what a variant loses.

    Returns:
        Precision, '' for the graph -> figures, kernels and the command that repeats the measurement.

    Raises:
        ModelError: a variant cannot run here.
        DatasetError: the dataset's classes are not labels of the model, or no image can be scored.
    """
    bundle = open_bundle(str(path))
    graph = [] if 'top1' in bundle.card.metrics else ['']
    metrics = {precision: _score(path, dataset, precision) for precision in [*graph, *precisions]}
    variants = tuple(
        replace(v, metrics=metrics[v.precision]) if v.backend == 'native' and v.precision in metrics else v
        for v in bundle.card.variants)
    card = replace(bundle.card, variants=variants, metrics={**bundle.card.metrics, **metrics.get('', {})})
    write_with_card(bundle, card, path)
    return metrics


def _score(path: Path, dataset: LabeledDataset, precision: str) -> dict[str, Any]:
    loaded = load(str(path), backend='native' if precision else 'onnxruntime', precision=precision)
    figures = accuracy(loaded, dataset)
    options = ' --held-out' if dataset.split == HELD_OUT else ''
    options += f' --model {loaded.card.name}' + (f' --precision {precision}' if precision else '')
    top1 = f'top-1 {100 * figures["top1"]:.2f} % of {figures["images"]} images'
    say(f'{path.name} {precision or "graph"}: {top1}', to=sys.stderr)
    return figures | {'kernels': loaded.backend.provider,
                      'command': f'shufflenet-ros evaluate {printable(dataset.path.name)}{options}'}
