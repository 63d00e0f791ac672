"""networks.json: what every network of the zoo costs, readable without torch."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from shufflenet_ros.bundles.errors import ModelError, mismatch
from shufflenet_ros.bundles.files import read_regular
from shufflenet_ros.bundles.locate import model_directories
from shufflenet_ros.core.strict_json import read_json

TABLE_FILE = 'networks.json'
SCHEMA = 1
MAX_TABLE_BYTES = 1 << 20


@dataclass(frozen=True)
class NetworkInfo:
    """One network at 1000 classes and 224x224.

    Attributes:
        params: of all layers.
        macs: multiply-adds of convolutions and fully connected layers; conv_macs without the latter.
        embedding_dim: length of the pooled embedding.
        published: `top1_error` in percent, ImageNet validation, and its `source`; None where nobody did.
        note: what is our choice in it, or ''.
    """

    name: str
    family: str
    params: int
    macs: int
    conv_macs: int
    embedding_dim: int
    published: Mapping[str, Any] | None
    note: str


def read_networks() -> dict[str, NetworkInfo]:
    """Name -> network, from the first models folder that has the table; empty where none has.

    Raises:
        ModelError: a table that cannot be used.
    """
    tables = (place.folder / TABLE_FILE for place in model_directories())
    path = next((table for table in tables if table.is_file()), None)
    if path is None:
        return {}
    try:
        values = read_json(read_regular(path, MAX_TABLE_BYTES))
        if type(values['schema']) is not int or values['schema'] != SCHEMA:
            raise mismatch(str(path), f'schema {SCHEMA}', str(values['schema']), 'use a newer shufflenet_ros')
        rows = [_network(row) for row in values['networks']]
    except ModelError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise mismatch(str(path), 'a table of networks', f'something else ({error})',
                       'restore the file') from error
    return {row.name: row for row in rows}


def _network(row: dict[str, Any]) -> NetworkInfo:
    network = NetworkInfo(**row)
    for field in fields(NetworkInfo):
        value = getattr(network, field.name)
        if not (isinstance(value, dict | None) if field.name == 'published' else type(value) is field.type):
            raise ValueError(f'{field.name} of {str(network.name)[:80]!r} is {str(value)[:80]!r}')
    return network
