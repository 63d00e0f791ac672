"""Accuracy of what is deployed: the exported file, through core, on a validation split."""

from pathlib import Path
from typing import Any

from shufflenet_ros.backends.bundle import open_bundle
from shufflenet_ros.backends.ort import OnnxRuntimeBackend
from shufflenet_ros.core.classifier import Classifier
from shufflenet_ros.core.frame import Options, Picture
from shufflenet_ros.zoo.datasets import load_tar
from shufflenet_ros.zoo.errors import ZooError


def score_bundle(path: Path, data_tar: Path) -> dict[str, Any]:
    """Top-1 and top-5 of a bundle on the tar's val split, as shares of 1, with the number of images."""
    bundle = open_bundle(str(path))
    data = load_tar(data_tar, 'val', bundle.card.input.size[0])
    if data.labels != bundle.card.labels:
        raise ZooError(f'{data_tar}: its {len(data.labels)} classes are not the '
                       f'{len(bundle.card.labels)} labels of {path}')
    classifier = Classifier(bundle.card, OnnxRuntimeBackend(bundle))
    top1 = top5 = 0
    for image, target in zip(data.images, data.targets, strict=True):
        labels = classifier.classify_picture(Picture(image, 'rgb'), Options(top_k=5, embedding=False)).labels
        top1 += labels[0].index == target
        top5 += any(label.index == target for label in labels)
    n = len(data.targets)
    return {'top1': round(top1 / n, 4), 'top5': round(top5 / n, 4), 'images': n, 'set': 'validation'}
