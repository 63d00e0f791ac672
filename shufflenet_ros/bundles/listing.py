"""What `models list` and `models show` say: networks, bundles at hand and downloads, as rows of one shape."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from shufflenet_ros.bundles.bundle import Bundle, open_bundle
from shufflenet_ros.bundles.catalog import Download, in_cache, read_downloads
from shufflenet_ros.bundles.errors import ModelError
from shufflenet_ros.bundles.files import read_regular, sha256_of
from shufflenet_ros.bundles.index import MAX_MODEL_BYTES
from shufflenet_ros.bundles.locate import ModelFile, models_in, model_directories
from shufflenet_ros.bundles.networks import NetworkInfo, read_networks

KINDS = ('network', 'bundle', 'download')

KEYS = (
    'kind', 'name', 'network', 'family', 'params', 'macs', 'conv_macs', 'embedding_dim', 'published',
    'measured', 'weights', 'terms', 'license', 'place', 'path', 'sha256', 'size', 'check', 'trusted',
    'card_from', 'input', 'labels', 'metrics', 'ir_version', 'opsets', 'url', 'fetched', 'note', 'error',
)
"""Of every row; what a kind does not have, or nobody knows, is None."""

COST = ('family', 'params', 'macs', 'conv_macs', 'embedding_dim')
"""What a network's row of the table says of its weights, too."""

Row = dict[str, Any]


def rows() -> list[Row]:
    """Every network, then every bundle at hand, then every download; one that cannot be used says why.

    Raises:
        ModelError: one of the package's own tables cannot be read.
    """
    others = weight_rows()
    return [*(network_row(network, others) for network in read_networks().values()), *others]


def weight_rows() -> list[Row]:
    """Every bundle at hand, then every download. Raises as `rows`.

    A name that several model_directories have comes once, as the file that it means; where another place's file differs,
    `note` says so.
    """
    table, networks = read_downloads(), read_networks()
    bundles = list(_bundle_rows(table))
    downloads = [download_row(download, networks.get(download.network)) for download in table.values()]
    return [*bundles, *downloads]


def _row(kind: str, **values: Any) -> Row:
    return dict.fromkeys(KEYS) | {'kind': kind} | values


def network_row(network: NetworkInfo, others: list[Row]) -> Row:
    """A network, with the bundles and downloads among the other rows that have its weights.

    `measured` and `terms` are objects, one entry a bundle or download; `weights` is a list of names.
    """
    mine: dict[str, Row] = {}
    for row in others:
        if row['network'] == network.name:
            mine.setdefault(row['name'], row)
    return _row(
        'network', **asdict(network), network=network.name, weights=list(mine),
        measured={name: row['measured'] for name, row in mine.items() if row['measured']},
        terms={name: row['terms'] for name, row in mine.items() if row['terms']})


def _bundle_rows(table: dict[str, Download]) -> Iterator[Row]:
    by_name: dict[str, list[ModelFile]] = {}
    for place in model_directories():
        try:
            for name, found in models_in(place).items():
                by_name.setdefault(name, []).append(found)
        except ModelError as error:
            yield _row('bundle', place=place.kind, path=str(place.folder), error=str(error))
    for name, (first, *others) in by_name.items():
        notes = [note for other in others if (note := _difference(first, other))]
        yield _bundle_row(name, first, table) | {'note': '; '.join(notes) or None}


def _bundle_row(name: str, found: ModelFile, table: dict[str, Download]) -> Row:
    try:
        return bundle_row(open_bundle(str(found.path)), found, table)
    except ModelError as error:
        kind = found.place.kind if found.place else None
        return _row('bundle', name=name, place=kind, path=str(found.path), error=str(error))


def _difference(first: ModelFile, other: ModelFile) -> str:
    """That another place has another file of the same name, '' where it has the same."""
    digests = [_digest(found) for found in (first, other)]
    if digests[0] == digests[1]:
        return ''
    where = f' ({other.place.kind})' if other.place else ''
    return f'not used: {other.path}{where}, another file of this name (sha256 {digests[1][:12]})'


def _digest(found: ModelFile) -> str:
    """The sha256 of a file, '' where it cannot be read."""
    try:
        return sha256_of(read_regular(found.path, MAX_MODEL_BYTES))
    except ModelError:
        return ''


def bundle_row(bundle: Bundle, found: ModelFile, table: dict[str, Download]) -> Row:
    """A bundle, and how it was checked where it was fetched.

    The metrics in the card of a publisher's own file are the publisher's, so that nothing was measured.
    """
    theirs = next((d for d in table.values() if d.check == bundle.sha256), None)
    metrics = dict(bundle.card.metrics)
    return _row('bundle', **describe(bundle), place=found.place.kind if found.place else None,
                check=found.entry.check or None if found.entry else None,
                published=published(theirs) if theirs else None,
                measured=None if theirs or not metrics else metrics, weights=str(bundle.path))


def describe(bundle: Bundle) -> Row:
    """A bundle in a few values, for people and for JSON."""
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


def published(download: Download) -> Row:
    """Its errors in percent, ImageNet validation, and who says so."""
    return {'top1_error': download.top1_error, 'top5_error': download.top5_error, 'source': download.source}


def download_row(download: Download, network: NetworkInfo | None) -> Row:
    """A download: where it lies in the cache or where it comes from, and what it is or was held to."""
    cost = {key: getattr(network, key, None) for key in COST}
    row = _row('download', name=download.name, network=download.network, published=published(download),
               weights=download.url, terms=download.terms, license=download.license, url=download.url,
               size=download.size, check=download.check_kind, fetched=False, **cost)
    try:
        path, pin = in_cache(download)
    except ModelError as error:
        return row | {'error': str(error)}
    if pin:
        row |= {'sha256': pin.sha256, 'size': pin.size, 'check': pin.check or None}
    if path and pin:
        row |= {'path': str(path), 'weights': str(path), 'place': 'cache', 'fetched': True}
    return row
