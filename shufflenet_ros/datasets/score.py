# SPDX-License-Identifier: Apache-2.0
"""Score a model on a labeled dataset, with the same code as on the robot."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from shufflenet_ros.core.classifier import Classifier
from shufflenet_ros.core.console import say
from shufflenet_ros.core.decode import decode
from shufflenet_ros.core.frame import F32, DecodedImage, Options, Result
from shufflenet_ros.core.reasons import DropReason, FrameError
from shufflenet_ros.datasets.errors import DatasetError
from shufflenet_ros.datasets.labeled_dataset import LabeledDataset
from shufflenet_ros.datasets.match_labels import match_labels
from shufflenet_ros.datasets.metrics import I64, Mask, hits

if TYPE_CHECKING:
    from shufflenet_ros.backends.load import LoadedModel

TOP_K = 5


@dataclass(frozen=True)
class Scores:
    """The results of a model on N images.

    Attributes:
        indices: (N,) position of each image among all images that were tried, from 0.
        targets: (N,) true classes, as indices into the model's labels.
        ranked: (N, K) predicted classes, the most probable first; K is 5, or the number of labels if less.
        confidence: (N,) probability of the first prediction.
        embeddings: (N, D) of length 1, or None if the model has none.
        skipped: name of each image without a result, and the reason.
    """

    indices: I64
    targets: I64
    ranked: I64
    confidence: F32
    embeddings: F32 | None
    skipped: tuple[tuple[str, FrameError], ...]

    @property
    def correct(self) -> Mask:
        """(N,) whether the first prediction is the true class."""
        return hits(self.targets, self.ranked, 1)

    def top(self, k: int) -> float:
        """Share of images whose class is among the first k predictions (k at most 5); 0 if N is 0."""
        return float(hits(self.targets, self.ranked, k).mean()) if len(self.targets) else 0.0


def score(classifier: Classifier, dataset: LabeledDataset, limit: int = 0,
          advance: Callable[[], object] = lambda: None) -> Scores:
    """Classify every image of a dataset, or `limit` images spread evenly over it.

    Args:
        advance: called after each image.

    Raises:
        DatasetError: a class is not a label of the model, or the dataset is damaged.
        BagError: the dataset is a damaged bag.
    """
    card = classifier.card
    labels = match_labels(dataset.labels, card.labels, card.name)
    options = Options(top_k=TOP_K, embedding='embedding' in card.outputs)
    indices, targets, ranked, confidence = [], [], [], []
    embeddings: list[F32] = []
    skipped: list[tuple[str, FrameError]] = []
    for index, sample in enumerate(dataset.samples(limit)):
        _, result = try_classify(classifier, sample.message, options)
        if isinstance(result, FrameError):
            skipped.append((sample.name, result))
        else:
            indices.append(index)
            targets.append(labels[sample.target])
            ranked.append([prediction.index for prediction in result.predictions])
            confidence.append(result.predictions[0].score)
            if result.embedding is not None:
                embeddings.append(result.embedding)
        advance()
    return Scores(
        np.array(indices, np.int64), np.array(targets, np.int64),
        np.array(ranked, np.int64).reshape(len(indices), min(TOP_K, len(card.labels))),
        np.array(confidence, np.float32), np.stack(embeddings) if embeddings else None, tuple(skipped))


def try_classify(classifier: Classifier, message: Any, options: Options
                 ) -> tuple[DecodedImage | None, Result | FrameError]:
    """The decoded image of a message, and the result that the node would publish or why it would drop it.

    Args:
        message: what `core.decode` accepts, or the reason why there is none.
    """
    if isinstance(message, FrameError):
        return None, message
    image = None
    try:
        started = time.perf_counter()
        image = decode(message, classifier.max_pixels)
        return image, classifier.classify_image(image, options, time.perf_counter() - started)
    except FrameError as error:
        return image, error
    except MemoryError:
        return image, FrameError(DropReason.NO_MEMORY, 'no memory left for this image: use smaller images')


def accuracy(model: 'LoadedModel', dataset: LabeledDataset) -> dict[str, Any]:
    """`top1` and `top5` as shares of 1, and the number of `images` that they are measured on.

    Raises:
        DatasetError: a class is not a label of the model, or no image can be scored.
    """
    scores = score(Classifier(model.card, model.backend), dataset)
    for name, error in scores.skipped:
        say(f'{dataset.path}: {name} not scored: {error}', to=sys.stderr)
    if not len(scores.targets):
        raise DatasetError(f'{dataset.path}: none of its {dataset.count} images could be scored')
    return {'top1': round(scores.top(1), 4), 'top5': round(scores.top(5), 4), 'images': len(scores.targets)}
