# SPDX-License-Identifier: Apache-2.0
"""Networks, bundles on this machine and downloads: rows with the same keys for `models list` and `show`."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from shufflenet_ros.bundles.bundle import Bundle, open_bundle
from shufflenet_ros.bundles.catalog import CHECKS, Download, find_in_cache, read_downloads
from shufflenet_ros.bundles.errors import ModelError
from shufflenet_ros.bundles.files import read_regular, read_table, sha256_of
from shufflenet_ros.bundles.index import MAX_MODEL_BYTES
from shufflenet_ros.bundles.locate import ModelFile, all_models, find, is_path, model_directories, models_in
from shufflenet_ros.core.fields import Readers, mapping, read_fields, strict_integer, string
from shufflenet_ros.core.strict_json import read_json

KINDS = ('network', 'bundle', 'download')

KEYS = (
    'kind', 'name', 'network', 'family', 'params', 'macs', 'conv_macs', 'embedding_dim', 'published',
    'measured', 'weights', 'terms', 'license', 'location', 'path', 'sha256', 'size', 'check', 'trusted',
    'card_from', 'input', 'labels', 'metrics', 'ir_version', 'opsets', 'url', 'fetched', 'note', 'error',
)
"""The keys of every row; the value is None if it isn't known, or the kind doesn't have it."""

_COUNTS = ('params', 'macs', 'conv_macs', 'embedding_dim')

Row = dict[str, Any]


def read_networks() -> dict[str, Row]:
    """Name -> row of networks.json in the first models folder that has it; empty if none has.

    The table has the cost of every network of the zoo at 1000 classes and 224x224, readable without torch:
    `params` of all layers; `macs`, the multiply-adds of convolutions and fully connected layers, and
    `conv_macs` without the latter; `embedding_dim`; `published`, the `top1_error` in percent (ImageNet
    validation) with its `source`, or None; and a `note` on choices that the paper leaves open, or ''.

    Raises:
        ModelError: a table that cannot be used.
    """
    for folder in model_directories():
        if (path := folder / 'networks.json').is_file():
            rows = read_table(path, read_json, 'a table of networks', lambda table: [
                read_fields(row, f'networks[{i}]', _NETWORK, tuple(_NETWORK))
                for i, row in enumerate(table['networks'])])
            return {row['name']: row for row in rows}
    return {}


_NETWORK: Readers = {
    **dict.fromkeys(('name', 'family', 'note'), string),
    **dict.fromkeys(_COUNTS, partial(strict_integer, low=0)),
    'published': lambda value, where: None if value is None else mapping(value, where),
}


def list_rows() -> list[Row]:
    """Every network, then every bundle on this machine, then every download. `error` says if one is unusable.

    A name that is in several directories is listed once, with the file that it means; `note` says if another
    directory has a different file of that name.

    Raises:
        ModelError: one of the package's own tables cannot be read.
    """
    downloads, networks = read_downloads(), read_networks()
    weights = [*_bundle_rows(downloads)]
    weights += [_download_row(download, networks) for download in downloads.values()]
    return [*(_network_row(network, weights) for network in networks.values()), *weights]


def find_row(name_or_path: str, card_file: str = '') -> tuple[Row, Bundle | None]:
    """The row of a network, bundle or download, with `check_means`; and the bundle, if it is one.

    A name means a bundle on this machine first, then a network, then a download.

    Raises:
        ModelError: nothing has that name, or the bundle cannot be used.
    """
    downloads = read_downloads()
    if not is_path(name_or_path) and name_or_path not in dict(all_models()):
        for row in list_rows():
            if row['kind'] != 'bundle' and row['name'] == name_or_path:
                return row | {'check_means': _explain_check(row, downloads)}, None
    try:
        bundle = open_bundle(name_or_path, card_file)
    except ModelError as error:
        if is_path(name_or_path):
            raise
        raise ModelError(f'{error}. For networks and downloads see `shufflenet-ros models list`') from error
    row = _bundle_row(bundle, find(name_or_path), downloads)
    return row | {'check_means': _explain_check(row, downloads)}, bundle


def _explain_check(row: Row, downloads: dict[str, Download]) -> str | None:
    if row['check'] not in CHECKS:
        return None
    means = f'checked against {CHECKS[row["check"]]}'
    if row['kind'] == 'download':
        means = f'{"" if row["fetched"] else "will be "}{means}: {downloads[row["name"]].check}'
    return means if row['fetched'] is False else f'{means}; sha256 and size are pinned since the first fetch'


def _row(kind: str, **values: Any) -> Row:
    return dict.fromkeys(KEYS) | {'kind': kind} | values


def _network_row(network: Row, weights: list[Row]) -> Row:
    """A network, with the bundles and downloads of its weights.

    `measured` and `terms` have an entry per bundle or download; `weights` is a list of their names.
    """
    own: dict[str, Row] = {}
    for row in weights:
        if row['network'] == network['name']:
            own.setdefault(row['name'], row)
    return _row('network', **network, network=network['name'], weights=list(own),
                measured={name: row['measured'] for name, row in own.items() if row['measured']},
                terms={name: row['terms'] for name, row in own.items() if row['terms']})


def _bundle_rows(downloads: dict[str, Download]) -> Iterator[Row]:
    by_name: dict[str, list[ModelFile]] = {}
    for folder, location in model_directories().items():
        try:
            for name, file in models_in(folder, location).items():
                by_name.setdefault(name, []).append(file)
        except ModelError as error:
            yield _row('bundle', location=location, path=str(folder), error=str(error))
    for name, (first, *others) in by_name.items():
        try:
            row = _bundle_row(open_bundle(str(first.path)), first, downloads)
        except ModelError as error:
            row = _row('bundle', name=name, location=first.location, path=str(first.path), error=str(error))
        notes = [note for other in others if (note := _difference(first, other))]
        yield row | {'note': '; '.join(notes) or None}


def _difference(first: ModelFile, other: ModelFile) -> str:
    """A note if another directory has a different file of the same name; '' if both are the same."""
    own, sha256 = _sha256(first), _sha256(other)
    return '' if own == sha256 else (
        f'not used: {other.path} ({other.location}), another file of this name (sha256 {sha256[:12]})')


def _sha256(file: ModelFile) -> str:
    """'' for a file that cannot be read."""
    try:
        return sha256_of(read_regular(file.path, MAX_MODEL_BYTES))
    except ModelError:
        return ''


def _bundle_row(bundle: Bundle, file: ModelFile, downloads: dict[str, Download]) -> Row:
    """A bundle, and how it was checked if it was fetched.

    The metrics in the card of a publisher's own file are the publisher's, so they do not count as measured.
    """
    download = next((download for download in downloads.values() if download.check == bundle.sha256), None)
    metrics = dict(bundle.card.metrics)
    return _row('bundle', **describe(bundle), location=file.location,
                check=file.entry.check or None if file.entry else None,
                published=_published(download) if download else None,
                measured=None if download or not metrics else metrics, weights=str(bundle.path))


def describe(bundle: Bundle) -> Row:
    """The main facts about a bundle, for people and for JSON."""
    card = bundle.card
    return {
        'name': card.name, 'path': str(bundle.path), 'sha256': bundle.sha256, 'size': len(bundle.data),
        'trusted': bundle.trusted, 'card_from': bundle.card_from, 'network': card.network,
        'params': card.cost.get('params'), 'macs': card.cost.get('macs'),
        'input': f'{card.input.layout} {card.input.dtype} {card.input.size[0]}x{card.input.size[1]}',
        'labels': len(card.labels),
        'embedding_dim': card.embedding.get('dim') if 'embedding' in card.outputs else None,
        'metrics': dict(card.metrics), 'terms': card.training.get('terms', ''), 'license': card.license,
        'ir_version': bundle.facts.ir_version, 'opsets': dict(bundle.facts.opsets),
    }


def _published(download: Download) -> Row:
    """Errors in percent, ImageNet validation, and who publishes them."""
    return {'top1_error': download.top1_error, 'top5_error': download.top5_error, 'source': download.source}


def _download_row(download: Download, networks: dict[str, Row]) -> Row:
    """A download: its path in the cache, or its address; and how it is or was checked."""
    network = networks.get(download.network, {})
    row = _row('download', name=download.name, network=download.network, published=_published(download),
               weights=download.url, terms=download.terms, license=download.license, url=download.url,
               size=download.size, check=download.check_kind, fetched=False,
               **{key: network.get(key) for key in ('family', *_COUNTS)})
    try:
        path, pin = find_in_cache(download)
    except ModelError as error:
        return row | {'error': str(error)}
    if pin:
        row |= {'sha256': pin.sha256, 'size': pin.size, 'check': pin.check or None}
    if path and pin:
        row |= {'path': str(path), 'weights': str(path), 'location': 'cache', 'fetched': True}
    return row
