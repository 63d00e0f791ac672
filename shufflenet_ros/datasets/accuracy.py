"""How many images of a labeled set a loaded bundle names right, through core as on the robot."""

import sys
from typing import Any

from shufflenet_ros.backends.load import LoadedModel
from shufflenet_ros.core.classifier import Classifier
from shufflenet_ros.core.console import say
from shufflenet_ros.datasets.errors import DatasetError
from shufflenet_ros.datasets.sample import LabeledDataset
from shufflenet_ros.datasets.score import score


def accuracy(loaded: LoadedModel, dataset: LabeledDataset) -> dict[str, Any]:
    """`top1` and `top5` as shares of 1, and on how many `images` they rest.

    Raises:
        DatasetError: the set's classes are no labels of the model, or no image can be scored.
    """
    scores = score(Classifier(loaded.card, loaded.backend), dataset)
    for name, dropped in scores.skipped:
        say(f'{dataset.path}: {name} not scored: {dropped}', to=sys.stderr)
    if not len(scores.targets):
        raise DatasetError(f'{dataset.path}: none of its {dataset.count} images could be scored')
    return {'top1': round(scores.top(1), 4), 'top5': round(scores.top(5), 4), 'images': len(scores.targets)}
