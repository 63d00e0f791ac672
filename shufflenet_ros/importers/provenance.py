# SPDX-License-Identifier: Apache-2.0
"""The source, terms and labels of an imported file, for the card of the bundle."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from shufflenet_ros import bundles
from shufflenet_ros.bundles.catalog import Download, read_downloads
from shufflenet_ros.bundles.files import read_regular, sha256_of
from shufflenet_ros.core.card import MAX_CARD_BYTES, parse_card
from shufflenet_ros.core.strict_json import read_json
from shufflenet_ros.zoo.errors import ZooError

_IMAGENET_CARD = Path(bundles.__file__).with_name('cards') / 'shufflenet_v2_x1_0-imagenet-224-int8.json'
_IMAGENET_CLASSES = 1000


def download_of(content: bytes) -> Download | None:
    """The download of our catalog that has these bytes (for a zip: the bytes of the .pth in it)."""
    sha256, sha1 = sha256_of(content), hashlib.sha1(content, usedforsecurity=False).hexdigest()
    for download in read_downloads().values():
        if (sha1 if download.zipped else sha256[:len(download.check)]) == download.check:
            return download
    return None


def labels_for(classes: int, file: Path | None, own: Sequence[str] = ()) -> list[str]:
    """One label per class: from a file, else the model's own, else ImageNet's if there are 1000 classes.

    Raises:
        ModelError: the file cannot be read.
        ZooError: another number of labels, or none.
    """
    if file is not None:
        labels = _read_labels(file)
        if len(labels) != classes:
            raise ZooError(f'{file}: has {len(labels)} labels: expected {classes}, one per class')
        return labels
    if own:
        return list(own)
    if classes == _IMAGENET_CLASSES:
        return list(parse_card(_IMAGENET_CARD.read_bytes()).labels)
    raise ZooError(f'the network has {classes} classes without labels: expected --labels FILE, one per line '
                   'or a JSON list')


def _read_labels(file: Path) -> list[str]:
    data = read_regular(file, MAX_CARD_BYTES)
    try:
        text = data.decode('utf-8')
        if file.suffix != '.json':
            return [line.strip() for line in text.splitlines() if line.strip()]
        labels = read_json(text)
    except ValueError as error:
        raise ZooError(f'{file}: cannot be read ({error}): expected one label per line, or a JSON list in a '
                       'file that ends in .json') from error
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise ZooError(f'{file}: holds {type(labels).__name__}: expected a JSON list of labels')
    return labels
