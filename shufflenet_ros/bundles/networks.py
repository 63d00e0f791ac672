# SPDX-License-Identifier: Apache-2.0
"""networks.json: what every network of the zoo costs, readable without torch."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from shufflenet_ros.bundles.files import read_table
from shufflenet_ros.bundles.locate import model_directories
from shufflenet_ros.core.fields import field_path, invalid, section
from shufflenet_ros.core.strict_json import read_json

TABLE_FILE = 'networks.json'


@dataclass(frozen=True)
class NetworkInfo:
    """One network at 1000 classes and 224x224.

    Attributes:
        params: of all layers.
        macs: multiply-adds of convolutions and fully connected layers; conv_macs without the latter.
        embedding_dim: length of the pooled embedding.
        published: `top1_error` in percent, ImageNet validation, and its `source`; None if not published.
        note: what we chose in it, or ''.
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
    """Name -> network, from the first models folder that has the table; empty if none has.

    Raises:
        ModelError: a table that cannot be used.
    """
    tables = (directory.path / TABLE_FILE for directory in model_directories())
    path = next((table for table in tables if table.is_file()), None)
    if path is None:
        return {}
    rows = read_table(path, read_json, 'a table of networks', lambda table: [
        _network(row, f'networks[{i}]') for i, row in enumerate(table['networks'])])
    return {row.name: row for row in rows}


def _network(row: Any, where: str) -> NetworkInfo:
    section(row, where, [field.name for field in fields(NetworkInfo)])
    for field in fields(NetworkInfo):
        value = row[field.name]
        if not (isinstance(value, dict | None) if field.name == 'published' else type(value) is field.type):
            expected = 'a string' if field.type is str else 'an integer'
            raise invalid(field_path(where, field.name), value,
                          'an object or null' if field.name == 'published' else expected)
    return NetworkInfo(**row)
