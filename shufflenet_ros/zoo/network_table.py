"""models/networks.json: what every network costs, for `models list` on machines without torch.

`python -m shufflenet_ros.zoo.network_table` writes it again after a line of the registry has changed.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from shufflenet_ros.core.files import write_whole
from shufflenet_ros.zoo.macs import count
from shufflenet_ros.zoo.registry import NETWORKS, NetworkEntry, build, values_of

TABLE = Path(__file__).resolve().parents[2] / 'models' / 'networks.json'
SCHEMA = 1


def row(name: str, variant: NetworkEntry) -> dict[str, Any]:
    """One network at 1000 classes and 224x224: its name, cost and published error."""
    network = build(variant.config)
    cost = count(network)
    published = {'top1_error': variant.error, 'source': variant.source} if variant.error is not None else None
    return {
        'name': name, 'family': values_of(variant.config)['family'], 'params': cost.params,
        'macs': cost.total_macs, 'conv_macs': cost.conv_macs, 'embedding_dim': network.embedding_dim,
        'published': published, 'note': variant.note,
    }


def table_text() -> str:
    """The whole file: one network a line."""
    rows = [json.dumps(row(name, variant)) for name, variant in NETWORKS.items()]
    return f'{{"schema": {SCHEMA}, "networks": [\n' + ',\n'.join(rows) + '\n]}\n'


if __name__ == '__main__':
    argparse.ArgumentParser(prog='python -m shufflenet_ros.zoo.network_table', description=__doc__).parse_args()
    write_whole(TABLE, table_text().encode())
