"""A model's answers on a labelled set, through core as on the robot."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from shufflenet_ros.core.classifier import Classifier
from shufflenet_ros.core.frame import F32, Answer, Options
from shufflenet_ros.core.metrics import I64, Mask, hits
from shufflenet_ros.core.reasons import Dropped, Reason
from shufflenet_ros.sets.classes import match_labels
from shufflenet_ros.sets.sample import LabelledSet, Sample

RANKED = 5


@dataclass(frozen=True)
class Scores:
    """What a model said of N pictures.

    Attributes:
        places: (N,) number of each picture among those that were tried, from 0.
        targets: (N,) right classes, as indices into the model's labels.
        ranked: (N, K) answers by falling probability, K the smaller of 5 and the model's classes.
        confidence: (N,) probability of the first answer.
        embeddings: (N, D) of length 1, or None where the model gives none.
        skipped: the pictures that have no answer, by name, and why.
    """

    places: I64
    targets: I64
    ranked: I64
    confidence: F32
    embeddings: F32 | None
    skipped: tuple[tuple[str, Dropped], ...]

    @property
    def right(self) -> Mask:
        """(N,) whether the first answer is right."""
        return hits(self.targets, self.ranked, 1)

    def top(self, k: int) -> float:
        """Share of pictures whose class is among the first k answers (k at most 5); 0 where N is 0."""
        return float(hits(self.targets, self.ranked, k).mean()) if len(self.targets) else 0.0


def score(classifier: Classifier, dataset: LabelledSet, limit: int = 0,
          watch: Callable[[Sample], Any] = lambda sample: None) -> Scores:
    """Classify every picture of a set, or `limit` of them spread over it.

    Args:
        watch: told of each sample when it is done.

    Raises:
        SetError: the set's classes are no labels of the model, or the set is damaged.
        BagError: the set is a damaged bag.
    """
    card = classifier.card
    labels = match_labels(dataset.labels, card.labels, card.name)
    options = Options(top_k=RANKED, embedding='embedding' in card.outputs)
    places, targets, ranked, confidence = [], [], [], []
    embeddings: list[F32] = []
    skipped: list[tuple[str, Dropped]] = []
    for place, sample in enumerate(dataset.samples(limit)):
        outcome = _answer(classifier, sample, options)
        if isinstance(outcome, Dropped):
            skipped.append((sample.name, outcome))
        else:
            places.append(place)
            targets.append(labels[sample.target])
            ranked.append([label.index for label in outcome.labels])
            confidence.append(outcome.labels[0].score)
            if outcome.embedding is not None:
                embeddings.append(outcome.embedding)
        watch(sample)
    return Scores(
        np.array(places, np.int64), np.array(targets, np.int64),
        np.array(ranked, np.int64).reshape(len(places), min(RANKED, len(card.labels))),
        np.array(confidence, np.float32), np.stack(embeddings) if embeddings else None, tuple(skipped))


def _answer(classifier: Classifier, sample: Sample, options: Options) -> Answer | Dropped:
    if isinstance(sample.message, Dropped):
        return sample.message
    try:
        return classifier.classify(sample.message, options)
    except Dropped as dropped:
        return dropped
    except MemoryError:
        return Dropped(Reason.NO_MEMORY, 'no memory left for this picture: use smaller ones')
