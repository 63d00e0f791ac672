"""Graphs with random weights, a way to change them, and what onnxruntime says of them."""

import numpy as np
import onnx
import onnxruntime
import torch
from foreign_weights import randomize_batch_norms
from onnx import helper, numpy_helper

from shufflenet_ros.core.card import CardInput
from shufflenet_ros.packer.batch import evaluate
from shufflenet_ros.packer.graph import read_network
from shufflenet_ros.packer.network import Network
from shufflenet_ros.zoo.export import to_onnx
from shufflenet_ros.zoo.registry import build, config_of

OUTPUTS = {'logits': 'logits', 'embedding': 'embedding'}
SIZE = (64, 96)
WITHIN = 1e-5
V1 = {'groups': 3, 'width': 0.25, 'repeats': (2, 2, 1)}
V2 = {'family': 'shufflenet_v2', 'width': 0.5}


def exported(network, size=SIZE) -> bytes:
    """A graph with random weights and random statistics."""
    torch.manual_seed(1)
    return to_onnx(randomize_batch_norms(build(config_of(network, 7))), size)


def taken(data: bytes, size=SIZE) -> Network:
    return read_network(data, CardInput('NHWC', 'uint8', size, 'rgb'), OUTPUTS)


def off(data: bytes, network: Network) -> float:
    """Largest difference of logits and embedding from onnxruntime's, relative to the largest value."""
    frames = np.random.default_rng(0).integers(0, 256, (2, *network.size, 3), np.uint8)
    session = onnxruntime.InferenceSession(data, providers=['CPUExecutionProvider'])
    expected = [np.concatenate(values) for values in
                zip(*(session.run(['logits', 'embedding'], {'frame': frame[None]}) for frame in frames))]
    return max(float(np.abs(got - wanted).max() / np.abs(wanted).max())
               for got, wanted in zip(evaluate(network, frames), expected, strict=True))


class Draft:
    """A graph to change."""

    def __init__(self, data: bytes):
        self.proto = onnx.load_from_string(data)
        self.graph = self.proto.graph

    def find(self, kind: str, index: int = 0):
        return [node for node in self.graph.node if node.op_type == kind][index]

    def values(self, name: str) -> np.ndarray:
        """Of an initializer or a Constant node."""
        found = {tensor.name: tensor for tensor in self.graph.initializer}
        for node in self.graph.node:
            if node.op_type == 'Constant':
                found[node.output[0]] = node.attribute[0].t
        return numpy_helper.to_array(found[name])

    def constant(self, values, name='') -> str:
        name = name or f'new{len(self.graph.initializer)}'
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def after(self, node, kind: str, *inputs: str, **attributes) -> None:
        """Put a node behind another one's first output; whoever read that reads the new one's."""
        made = f'{node.output[0]}_{kind}'
        for other in self.graph.node:
            for index, name in enumerate(other.input):
                if name == node.output[0]:
                    other.input[index] = made
        new = helper.make_node(kind, [node.output[0], *inputs], [made], name=f'{kind} behind {node.name}',
                               **attributes)
        self.graph.node.insert(list(self.graph.node).index(node) + 1, new)

    def replace(self, node, *new) -> None:
        at = list(self.graph.node).index(node)
        del self.graph.node[at]
        for offset, one in enumerate(new):
            self.graph.node.insert(at + offset, one)

    def set(self, node, name: str, value) -> None:
        kept = [a for a in node.attribute if a.name != name]
        del node.attribute[:]
        node.attribute.extend([*kept, *([] if value is None else [helper.make_attribute(name, value)])])

    def order(self, places: list[int]) -> None:
        """Put the nodes into another order."""
        copies = [onnx.NodeProto.FromString(self.graph.node[place].SerializeToString()) for place in places]
        del self.graph.node[:]
        self.graph.node.extend(copies)

    def bytes(self) -> bytes:
        return self.proto.SerializeToString()
