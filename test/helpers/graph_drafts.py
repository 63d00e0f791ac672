# SPDX-License-Identifier: Apache-2.0
"""ONNX graphs with random weights, a way to change them, and how far a network is from onnxruntime."""

import numpy as np
import onnx
import onnxruntime
import torch
from foreign_weights import randomize_batch_norms
from onnx import helper, numpy_helper

from shufflenet_ros.core.card import CardInput
from shufflenet_ros.datasets.calibration import seeded_images
from shufflenet_ros.packer.graph import read_network
from shufflenet_ros.packer.network import Network
from shufflenet_ros.packer.reference import evaluate
from shufflenet_ros.zoo.export import to_onnx
from shufflenet_ros.zoo.registry import build, config_of

OUTPUTS = {'logits': 'logits', 'embedding': 'embedding'}
SIZE = (64, 96)
WITHIN = 1e-5
V1 = {'groups': 3, 'width': 0.25, 'repeats': (2, 2, 1)}
V2 = {'family': 'shufflenet_v2', 'channels': (24, 48, 96, 128)}
_GRAPHS: dict[tuple, bytes] = {}


def exported(network, size=SIZE, classes=7, seed=1) -> bytes:
    """A graph with random weights and random statistics; each is made once."""
    key = (str(network), size, classes, seed)
    if key not in _GRAPHS:
        torch.manual_seed(seed)
        _GRAPHS[key] = to_onnx(randomize_batch_norms(build(config_of(network, classes))), size)
    return _GRAPHS[key]


def read(data: bytes, size=SIZE) -> Network:
    return read_network(data, CardInput('NHWC', 'uint8', size, 'rgb'), OUTPUTS)


def frames_for(network: Network, count=16, seed=0) -> np.ndarray:
    """(count, H, W, 3) uint8, somewhat like photos."""
    return np.stack([image.pixels for image in seeded_images(network.size, count, seed)])


def expected_outputs(data: bytes, frames) -> list[list[np.ndarray]]:
    """Logits and embedding in onnxruntime for each frame."""
    session = onnxruntime.InferenceSession(data, providers=['CPUExecutionProvider'])
    return [[value[0] for value in session.run([*OUTPUTS], {'frame': frame[None]})] for frame in frames]


def relative_error(got: np.ndarray, wanted: np.ndarray) -> float:
    """Largest difference, relative to the largest value."""
    return float(np.abs(got - wanted).max() / np.abs(wanted).max())


def error_of(data: bytes, network: Network) -> float:
    """Relative error of logits and embedding against onnxruntime."""
    frames = np.random.default_rng(0).integers(0, 256, (2, *network.size, 3), np.uint8)
    wanted = zip(*expected_outputs(data, frames))
    return max(relative_error(got, np.stack(values))
               for got, values in zip(evaluate(network, frames), wanted, strict=True))


class GraphDraft:
    """A graph to change."""

    def __init__(self, data: bytes):
        self.proto = onnx.load_from_string(data)
        self.graph = self.proto.graph

    def find(self, kind: str, index: int = 0):
        return self.all(kind)[index]

    def all(self, kind: str):
        return [node for node in self.graph.node if node.op_type == kind]

    def values(self, name: str) -> np.ndarray:
        """Of an initializer or a Constant node."""
        tensors = {tensor.name: tensor for tensor in self.graph.initializer}
        tensors |= {node.output[0]: node.attribute[0].t for node in self.all('Constant')}
        return numpy_helper.to_array(tensors[name])

    def constant(self, values) -> str:
        name = f'new{len(self.graph.initializer)}'
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def after(self, node, kind: str, *inputs: str, **attributes) -> None:
        """Insert a node after another one's first output; its readers read the new node's output."""
        output = f'{node.output[0]}_{kind}'
        for other in self.graph.node:
            for index, name in enumerate(other.input):
                if name == node.output[0]:
                    other.input[index] = output
        new = helper.make_node(kind, [node.output[0], *inputs], [output], name=f'{kind} after {node.name}',
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
        node.attribute.extend([*kept, helper.make_attribute(name, value)])

    def swap(self, one, other) -> None:
        """Exchange two nodes' positions."""
        nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in self.graph.node]
        first, second = (list(self.graph.node).index(node) for node in (one, other))
        nodes[first], nodes[second] = nodes[second], nodes[first]
        del self.graph.node[:]
        self.graph.node.extend(nodes)

    def bytes(self) -> bytes:
        return self.proto.SerializeToString()
