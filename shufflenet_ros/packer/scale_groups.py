# SPDX-License-Identifier: Apache-2.0
"""Find out which operations' outputs must share one scale.

A quantized operation has one scale for everything it reads, and one for what its residual adds to. So outputs
that are read together, or copied next to each other, form a group with one scale. What the same map holds
later may be in another group.
"""

from dataclasses import dataclass

import numpy as np

from shufflenet_ros.packer.network import Network

FRAME = -1
HEAD = -2


@dataclass(frozen=True)
class ScaleGroups:
    """Numbers of groups; one entry for each operation.

    Attributes:
        read: group of what it reads, FRAME for the frame.
        written: group of what it writes, HEAD for the outputs.
        held: group of what its residual adds to, FRAME without a residual.
    """

    read: tuple[int, ...]
    written: tuple[int, ...]
    held: tuple[int, ...]


def find_scale_groups(network: Network) -> ScaleGroups:
    """Follow every channel from its writer to its readers."""
    parent = list(range(len(network.ops)))  # union-find over the operations

    def root(node: int) -> int:
        while parent[node] != node:
            node = parent[node]
        return node

    def join(nodes: set[int]) -> int:
        roots = sorted({root(node) for node in nodes})
        for other in roots:
            parent[other] = roots[0]
        return roots[0]

    writers = [np.zeros(m.channels, np.int64) for m in network.maps]
    read, written, held = [], [], []
    for index, op in enumerate(network.ops):
        stop = op.first + op.count
        read.append(FRAME if op.source is None else join(set(writers[op.source][op.first:stop].tolist())))
        written.append(HEAD if op.target is None else index)
        held.append(FRAME)
        if op.target is not None:
            table = op.table if op.table.size else slice(None)
            if op.residual:
                held[-1] = join(set(writers[op.target][table].tolist()))
            if op.kind == 'copy':
                join({index, read[-1]})
            writers[op.target][table] = index

    def roots(nodes: list[int]) -> tuple[int, ...]:
        return tuple(root(node) if node >= 0 else node for node in nodes)

    return ScaleGroups(roots(read), roots(written), roots(held))
