"""How many pictures of a labelled set a loaded bundle names right, through core as on the robot."""

import sys
from typing import Any

from shufflenet_ros.backends.open import Loaded
from shufflenet_ros.core.classifier import Classifier
from shufflenet_ros.core.console import say
from shufflenet_ros.sets.errors import SetError
from shufflenet_ros.sets.sample import LabelledSet
from shufflenet_ros.sets.score import score


def accuracy(loaded: Loaded, dataset: LabelledSet) -> dict[str, Any]:
    """`top1` and `top5` as shares of 1, and on how many `images` they rest.

    Raises:
        SetError: the set's classes are no labels of the model, or no picture can be scored.
    """
    scores = score(Classifier(loaded.card, loaded.backend), dataset)
    for name, dropped in scores.skipped:
        say(f'{dataset.path}: {name} not scored: {dropped}', to=sys.stderr)
    if not len(scores.targets):
        raise SetError(f'{dataset.path}: none of its {dataset.count} pictures could be scored')
    return {'top1': round(scores.top(1), 4), 'top5': round(scores.top(5), 4), 'images': len(scores.targets)}
