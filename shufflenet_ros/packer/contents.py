"""Which outputs of a network have to share one scale.

A quantized operation takes one scale for all it reads, and one for what its residual adds to. So outputs
that are read together, or copied next to each other, share a scale; what a map holds later is free of it.
"""

from dataclasses import dataclass

import numpy as np

from shufflenet_ros.packer.network import Network


@dataclass(frozen=True)
class Contents:
    """A number for each content, the same where the scale has to be; one entry per operation.

    Attributes:
        read: what it reads, FRAME for the frame.
        written: what it writes, HEAD for the outputs.
        held: what its residual adds to, FRAME where it has none.
    """

    read: tuple[int, ...]
    written: tuple[int, ...]
    held: tuple[int, ...]


FRAME = -1
HEAD = -2


def find_contents(network: Network) -> Contents:
    """Follow every channel from its writer to its readers."""
    parent = list(range(len(network.ops)))

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

    return Contents(roots(read), roots(written), roots(held))
