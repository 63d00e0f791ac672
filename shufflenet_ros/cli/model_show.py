"""What `models show` says of one network, bundle or download."""

import json

from shufflenet_ros.backends.native_library import load_library
from shufflenet_ros.bundles.bundle import Bundle, open_bundle
from shufflenet_ros.bundles.catalog import CHECKS, read_downloads
from shufflenet_ros.bundles.errors import ModelError
from shufflenet_ros.bundles.listing import Row, bundle_row, download_row, network_row, weight_rows
from shufflenet_ros.bundles.locate import all_models, find, is_path
from shufflenet_ros.bundles.networks import read_networks
from shufflenet_ros.bundles.variants import resolve
from shufflenet_ros.core.card import Variant


def show(name_or_path: str, card_file: str = '') -> Row:
    """Everything that is known: the row of `models list`, what its check means, a bundle's card and variants.

    A name means a bundle at hand before a download of that name.

    Raises:
        ModelError: nothing has that name, or the bundle cannot be used.
    """
    row = _row(name_or_path, card_file)
    check = f'held to {CHECKS[row["check"]]}' if row['check'] in CHECKS else None
    if check and row['kind'] == 'download':
        expected = read_downloads()[row['name']].check
        check = f'{"" if row["fetched"] else "will be "}{check}: {expected}'
    if check and row['fetched'] is not False:
        check += '; sha256 and size are pinned since the first fetch'
    return row | {'check_means': check}


def _row(name_or_path: str, card_file: str) -> Row:
    table, networks = read_downloads(), read_networks()
    if is_path(name_or_path) or name_or_path in dict(all_models()):
        return _bundle(name_or_path, card_file)
    if network := networks.get(name_or_path):
        return network_row(network, weight_rows()) | {'card': None}
    if download := table.get(name_or_path):
        return download_row(download, networks.get(download.network)) | {'card': None}
    try:
        return _bundle(name_or_path, card_file)
    except ModelError as error:
        raise ModelError(f'{error}. Networks and downloads have other names too: see '
                         '`shufflenet-ros models list`') from error


def _bundle(name_or_path: str, card_file: str) -> Row:
    bundle = open_bundle(name_or_path, card_file)
    row = bundle_row(bundle, find(name_or_path), read_downloads())
    states = {variant.file: _state(bundle, variant) for variant in bundle.card.variants}
    return row | {'variants_here': states or None, 'card': json.loads(bundle.card.to_json())}


def _state(bundle: Bundle, variant: Variant) -> str:
    """Whether a variant could be tried here: its file is the card's, and its backend is there."""
    try:
        resolve(bundle, variant)
        if variant.backend == 'native':
            load_library()
    except ModelError as error:
        return str(error)
    return 'here'
