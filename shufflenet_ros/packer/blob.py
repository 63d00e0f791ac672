# SPDX-License-Identifier: Apache-2.0
"""Write a network as the blob that the C library reads; native/src/blob.h has the same layout."""

import struct
import zlib
from collections.abc import Callable, Mapping

import numpy as np

from shufflenet_ros.bundles.variants import PRECISIONS
from shufflenet_ros.packer.network import Array, Kind, Network, Op

MAGIC = b'SNNB'
VERSION = 1
ALIGNMENT = 64
NO_MAP = 0xFFFFFFFF
HEADER = struct.Struct('<4sIIIQIIIIIIff32s40x')
MAP = struct.Struct('<IIII')
OP = struct.Struct('<IIIIIIIIIif3f8x8Q')
KINDS: tuple[Kind, ...] = ('stem', 'pointwise', 'depthwise', 'copy', 'head')
_CRC_OFFSET = 12
_POOLS = {'': 0, 'both': 4, 'end': 8}
_WEIGHTS: Mapping[str, type[np.generic]] = {'fp32': np.float32, 'fp16': np.float16, 'int8': np.int8}


def write_blob(network: Network) -> bytes:
    """The bytes of a network's blob."""
    tensors = bytearray()
    start = HEADER.size + MAP.size * len(network.maps) + OP.size * len(network.ops)
    start += -start % ALIGNMENT

    def append(values: Array | None) -> tuple[int, int]:
        """Offset and size in bytes, 0 and 0 for no tensor."""
        if values is None or not values.size:
            return 0, 0
        data = np.ascontiguousarray(values).astype(values.dtype.newbyteorder('<'), copy=False).tobytes()
        offset = start + len(tensors)
        tensors.extend(data)
        tensors.extend(bytes(-len(data) % ALIGNMENT))
        return offset, len(data)

    ops = b''.join(_op(network, op, append) for op in network.ops)
    maps = b''.join(MAP.pack(m.channels, m.height, m.width, 0) for m in network.maps)
    classes, embedding = network.ops[-1].weights.shape
    header = HEADER.pack(
        MAGIC, VERSION, PRECISIONS.index(network.precision), 0, start + len(tensors), *network.size, classes,
        embedding, len(network.maps), len(network.ops), network.logit_scale, network.embedding_scale,
        bytes.fromhex(network.graph_sha256))
    blob = bytearray((header + maps + ops).ljust(start, b'\0') + tensors)
    blob[_CRC_OFFSET:_CRC_OFFSET + 4] = struct.pack('<I', zlib.crc32(blob))
    return bytes(blob)


def _op(network: Network, op: Op, append: Callable[[Array | None], tuple[int, int]]) -> bytes:
    weights = op.weights.astype(_WEIGHTS[network.precision], copy=False)
    flags = op.relu | op.residual << 1 | _POOLS[op.pool] | op.unsigned << 4
    spans = [append(values) for values in (weights, op.bias, op.multiplier, op.table)]
    source, target = (NO_MAP if index is None else index for index in (op.source, op.target))
    return OP.pack(
        KINDS.index(op.kind), flags, source, target, op.first, op.count, op.outputs, op.groups, op.stride,
        op.residual_multiplier, op.scale, *op.pad, *(value for span in spans for value in span))
