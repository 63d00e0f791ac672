"""What a bundle made of somebody's file says of it: where it comes from, labels, data, terms."""

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
    """The published file with these bytes (of the .pth, for a zip around one), if it is one of our list."""
    sha256, sha1 = sha256_of(content), hashlib.sha1(content, usedforsecurity=False).hexdigest()
    for download in read_downloads().values():
        if (sha1 if download.zipped else sha256[:len(download.check)]) == download.check:
            return download
    return None


def labels_for(classes: int, file: Path | None, own: Sequence[str] = ()) -> list[str]:
    """One name a class: from a file, else those that the model itself has, else ImageNet's for 1000.

    Raises:
        ModelError: the file cannot be read.
        ZooError: another number of names, or none to be had.
    """
    if file is not None:
        names = _read_names(file)
        if len(names) != classes:
            raise ZooError(f'{file}: has {len(names)} names: expected {classes}, one a class of the network')
        return names
    if own:
        return list(own)
    if classes == _IMAGENET_CLASSES:
        return list(parse_card(_IMAGENET_CARD.read_bytes()).labels)
    raise ZooError(f'the network has {classes} classes and no names for them: expected --labels FILE, a name '
                   'a line or a JSON list')


def _read_names(file: Path) -> list[str]:
    data = read_regular(file, MAX_CARD_BYTES)
    try:
        text = data.decode('utf-8')
        if file.suffix != '.json':
            return [line.strip() for line in text.splitlines() if line.strip()]
        names = read_json(text)
    except ValueError as error:
        raise ZooError(f'{file}: no text that can be read ({error}): expected a name a line, or a JSON list '
                       'in a file that ends in .json') from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ZooError(f'{file}: holds {type(names).__name__}: expected a JSON list of names')
    return names
