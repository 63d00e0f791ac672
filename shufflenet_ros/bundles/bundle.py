# SPDX-License-Identifier: Apache-2.0
"""Open a bundle: read the file once, compare the hash, find the card. No runtime reads it here."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from shufflenet_ros.bundles.errors import ModelError, mismatch
from shufflenet_ros.bundles.files import read_regular, sha256_of
from shufflenet_ros.bundles.index import MAX_MODEL_BYTES, SHA256
from shufflenet_ros.bundles.locate import find, trusted_hashes
from shufflenet_ros.bundles.onnx_file import OnnxSummary, read_summary
from shufflenet_ros.core.card import MAX_CARD_BYTES, METADATA_KEY, Card, CardError, parse_card

_PACKAGED = Path(__file__).with_name('cards')


@dataclass(frozen=True)
class Bundle:
    """A model file with its card.

    Attributes:
        data: the bytes of the file; sha256 is their hash.
        card: what the model expects and returns.
        card_from: where the card was found, in words.
        facts: versions and metadata of the file.
        trusted: whether an index on this machine lists the hash. Other files are first verified in a
            subprocess.
    """

    path: Path
    data: bytes = field(repr=False)
    sha256: str
    card: Card
    card_from: str
    facts: OnnxSummary = field(repr=False)
    trusted: bool


def open_bundle(name_or_path: str, card_file: str = '', sha256: str = '') -> Bundle:
    """Read a model by name or path.

    Args:
        card_file: a card to use instead of any other; '' for none.
        sha256: the hash the file must have; '' for any.

    Raises:
        ModelError: not found, not readable, wrong hash, not an ONNX model in one file, or no valid card.
    """
    file = find(name_or_path)
    path, data = file.path, read_regular(file.path, MAX_MODEL_BYTES)
    digest = sha256_of(data)
    if file.entry and file.entry.sha256 != digest:
        raise mismatch(str(path), f'sha256 {file.entry.sha256}', digest,
                       'it differs from the index: get it again')
    if sha256 and not SHA256.fullmatch(sha256):
        raise mismatch(str(path), 'a sha256 of 64 hexadecimal digits in lower case', repr(sha256[:80]),
                       f'copy it from `sha256sum {path}`')
    if sha256 and sha256 != digest:
        raise mismatch(str(path), f'sha256 {sha256}', digest, 'check the parameter, or get the right file')
    try:
        facts = read_summary(data)
        found = find_card(path, digest, facts, card_file)
    except ModelError as error:
        raise error if str(path) in str(error) else ModelError(f'{path}: {error}') from error
    if found is None:
        raise mismatch(str(path), 'a card with labels and preprocessing', 'none',
                       f'write {_sidecar(path).name} beside it (fields: docs/bundle.md), '
                       'or give --card / model_card')
    card_from, text = found
    try:
        card = parse_card(text)
    except CardError as error:
        raise ModelError(f'{path}: its card ({card_from}) cannot be used: {error}; correct it') from error
    trusted = file.entry is not None or digest in trusted_hashes()
    return Bundle(path, data, digest, card, card_from, facts, trusted)


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + '.card.json')


def find_card(path: Path, digest: str, facts: OnnxSummary, card_file: str = ''
              ) -> tuple[str, bytes | str] | None:
    """Where a file's card is, and its text; None if it has none.

    In this order: the given card file, the one beside the file, the file's metadata, one shipped with this
    package.
    """
    if file := card_file or (str(_sidecar(path)) if _sidecar(path).exists() else ''):
        return file, read_regular(Path(file), MAX_CARD_BYTES)
    if METADATA_KEY in facts.metadata:
        return 'in the file', facts.metadata[METADATA_KEY]
    packaged = json.loads((_PACKAGED / 'index.json').read_text('utf-8')).get(digest)
    return (f'packaged {packaged}', (_PACKAGED / packaged).read_bytes()) if packaged else None
