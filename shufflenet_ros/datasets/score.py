"""A model's answers on a labeled set, through core as on the robot."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from shufflenet_ros.core.classifier import Classifier
from shufflenet_ros.core.frame import F32, Options, Result
from shufflenet_ros.core.reasons import FrameError, Reason
from shufflenet_ros.datasets.classes import match_labels
from shufflenet_ros.datasets.metrics import I64, Mask, hits
from shufflenet_ros.datasets.sample import LabeledDataset, Sample

RANKED = 5


@dataclass(frozen=True)
class Scores:
    """What a model said of N images.

    Attributes:
        places: (N,) number of each image among those that were tried, from 0.
        targets: (N,) right classes, as indices into the model's labels.
        ranked: (N, K) answers by falling probability, K the smaller of 5 and the model's classes.
        confidence: (N,) probability of the first answer.
        embeddings: (N, D) of length 1, or None where the model gives none.
        skipped: the images that have no answer, by name, and why.
    """

    places: I64
    targets: I64
    ranked: I64
    confidence: F32
    embeddings: F32 | None
    skipped: tuple[tuple[str, FrameError], ...]

    @property
    def right(self) -> Mask:
        """(N,) whether the first answer is right."""
        return hits(self.targets, self.ranked, 1)

    def top(self, k: int) -> float:
        """Share of images whose class is among the first k answers (k at most 5); 0 where N is 0."""
        return float(hits(self.targets, self.ranked, k).mean()) if len(self.targets) else 0.0


def score(classifier: Classifier, dataset: LabeledDataset, limit: int = 0,
          watch: Callable[[Sample], Any] = lambda sample: None) -> Scores:
    """Classify every image of a set, or `limit` of them spread over it.

    Args:
        watch: told of each sample when it is done.

    Raises:
        DatasetError: the set's classes are no labels of the model, or the set is damaged.
        BagError: the set is a damaged bag.
    """
    card = classifier.card
    labels = match_labels(dataset.labels, card.labels, card.name)
    options = Options(top_k=RANKED, embedding='embedding' in card.outputs)
    places, targets, ranked, confidence = [], [], [], []
    embeddings: list[F32] = []
    skipped: list[tuple[str, FrameError]] = []
    for place, sample in enumerate(dataset.samples(limit)):
        outcome = _answer(classifier, sample, options)
        if isinstance(outcome, FrameError):
            skipped.append((sample.name, outcome))
        else:
            places.append(place)
            targets.append(labels[sample.target])
            ranked.append([label.index for label in outcome.predictions])
            confidence.append(outcome.predictions[0].score)
            if outcome.embedding is not None:
                embeddings.append(outcome.embedding)
        watch(sample)
    return Scores(
        np.array(places, np.int64), np.array(targets, np.int64),
        np.array(ranked, np.int64).reshape(len(places), min(RANKED, len(card.labels))),
        np.array(confidence, np.float32), np.stack(embeddings) if embeddings else None, tuple(skipped))


def _answer(classifier: Classifier, sample: Sample, options: Options) -> Result | FrameError:
    if isinstance(sample.message, FrameError):
        return sample.message
    try:
        return classifier.classify(sample.message, options)
    except FrameError as dropped:
        return dropped
    except MemoryError:
        return FrameError(Reason.NO_MEMORY, 'no memory left for this image: use smaller ones')
