# SPDX-License-Identifier: Apache-2.0
"""models/networks.json: what every network costs, for `models list` on machines without torch.

Run `python -m shufflenet_ros.zoo.network_table` after a line of the registry has changed.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from shufflenet_ros.core.files import write_whole
from shufflenet_ros.zoo.macs import count
from shufflenet_ros.zoo.registry import NETWORKS, NetworkEntry, build, values_of

TABLE = Path(__file__).resolve().parents[2] / 'models' / 'networks.json'
SCHEMA = 1


def _row(name: str, entry: NetworkEntry) -> str:
    """One network at 1000 classes and 224x224 as JSON: its name, cost and published error."""
    network = build(entry.config)
    return json.dumps({
        'name': name, 'family': values_of(entry.config)['family'], **asdict(count(network)),
        'embedding_dim': network.embedding_dim,
        'published': None if entry.error is None else {'top1_error': entry.error, 'source': entry.source},
        'note': entry.note,
    })


def table_text() -> str:
    """The whole file: one network a line."""
    rows = ',\n'.join(_row(name, entry) for name, entry in NETWORKS.items())
    return f'{{"schema": {SCHEMA}, "networks": [\n{rows}\n]}}\n'


if __name__ == '__main__':
    argparse.ArgumentParser(prog='python -m shufflenet_ros.zoo.network_table',
                            description=__doc__).parse_args()
    write_whole(TABLE, table_text().encode())
