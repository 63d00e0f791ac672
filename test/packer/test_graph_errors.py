# SPDX-License-Identifier: Apache-2.0
"""What the native kernels cannot compute exactly is an error with the node and the reason."""

import numpy as np
import pytest

pytest.importorskip('torch')
pytest.importorskip('onnx')

from graph_drafts import OUTPUTS, SIZE, V1, V2, WITHIN, GraphDraft, error_of, exported, read
from onnx import TensorProto, helper

from shufflenet_ros.core.card import CardInput
from shufflenet_ros.packer.graph import read_network
from shufflenet_ros.packer.network import UnsupportedGraphError


@pytest.fixture(scope='module')
def v1() -> bytes:
    return exported(V1)


def softmax(draft: GraphDraft) -> None:
    draft.find('Gemm').output[0] = 'raw'
    draft.graph.node.append(helper.make_node('Softmax', ['raw'], ['logits'], name='odds'))


def open_batch(draft: GraphDraft) -> None:
    draft.graph.input[0].type.tensor_type.shape.dim[0].dim_param = 'batch'


def float_input(draft: GraphDraft) -> None:
    draft.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


CHANGES = {
    'an operator': (lambda d: d.after(d.find('Relu'), 'HardSwish'),
                    "HardSwish 'HardSwish after .*': is an operator that the native kernels do not have"),
    'another domain': (lambda d: d.after(d.find('Relu'), 'Relu', domain='com.example'),
                       "com.example.Relu 'Relu after .*': is an operator"),
    'a large window': (lambda d: d.set(d.find('Conv', 2), 'pads', [0, 0, 0, 0]),
                       r'pads \[0, 0, 0, 0\]: expected 3x3, strides 1 or 2, pads \[1, 1, 1, 1\]'),
    'dilation': (lambda d: d.set(d.find('Conv', 2), 'dilations', [2, 2]), 'auto_pad or dilations'),
    'automatic pads': (lambda d: d.set(d.find('Conv', 2), 'auto_pad', 'SAME_UPPER'), 'auto_pad or dilations'),
    'a mean without padding': (lambda d: d.set(d.find('AveragePool'), 'count_include_pad', 0),
                               'leaves the padding out of the means: expected count_include_pad 1'),
    'another pool': (lambda d: d.set(d.find('MaxPool'), 'ceil_mode', 1),
                     r'pads \[1, 1, 1, 1\], ceil_mode: expected'),
    'moved pixels': (lambda d: d.set(d.find('Transpose', 1), 'perm', [0, 2, 1, 4, 3]), 'moves pixels'),
    'a transposed frame': (lambda d: d.set(d.find('Transpose'), 'perm', [0, 3, 2, 1]),
                           r'transposes the frame by \[0, 3, 2, 1\]: expected \[0, 3, 1, 2\], once'),
    'half precision': (lambda d: d.set(d.find('Cast'), 'to', TensorProto.FLOAT16), 'type than float32'),
    'other means': (lambda d: d.set(d.find('ReduceMean'), 'axes', [1, 2]),
                    r'axes \[1, 2\]: expected \[2, 3\]'),
    'softmax': (softmax, "Softmax 'odds': is an operator"),
    'scaled bytes': (lambda d: d.after(d.find('Transpose'), 'Add', d.constant(np.float32(1))),
                     'works on bytes'),
    'a mean above 255': (lambda d: d.after(d.find('Sub'), 'Sub', d.constant(np.float32(300))), 'a mean of '),
    'pixels scaled one by one': (lambda d: d.after(d.find('Sub'), 'Mul',
                                                   d.constant(np.ones((1, 1, *SIZE), np.float32))),
                                 'expected one value for each of 3 channels'),
    'scaled after ReLU': (lambda d: d.after(d.find('Relu', 1), 'Mul', d.constant(np.float32(2))),
                          'scales the output of a ReLU, a pool or a sum'),
    'scaled shuffled channels': (lambda d: d.after(d.find('Transpose', 1), 'Mul', d.constant(np.float32(2))),
                                 r'a tensor of shape .*: expected \(1, C, H, W\)'),
    'computed weights': (lambda d: d.find('Conv', 1).input.__setitem__(1, 'nowhere'), 'is computed'),
    'a ReLU after a depthwise convolution': (lambda d: d.after(d.find('Conv', 2), 'Relu'),
                                             "Relu 'Relu after .*': is a ReLU after a depthwise convolution"),
    'the same twice': (lambda d: d.find('Add').input.__setitem__(0, d.find('Add').input[1]),
                       'changes part of a layer, or values that another node reads'),
    'an open batch size': (open_batch, r"\('batch', 64, 96, 3\)"),
    'a float input': (float_input, 'an input that is not uint8'),
}


@pytest.mark.parametrize(('change', 'message'), CHANGES.values(), ids=CHANGES)
def test_an_error_has_node_and_reason(change, message, v1):
    draft = GraphDraft(v1)
    change(draft)
    with pytest.raises(UnsupportedGraphError, match=message):
        read(draft.bytes())


def test_a_stem_without_a_relu():
    draft = GraphDraft(exported(V2))
    draft.find('Relu').op_type = 'Identity'
    with pytest.raises(UnsupportedGraphError, match='no ReLU follows the first convolution'):
        read(draft.bytes())


@pytest.mark.parametrize(('options', 'message'), [
    ({'width': 0.25, 'se': True}, r"^Conv '.*': a convolution of means, as in squeeze-and-excitation"),
    ({'width': 0.25, 'bare_stem': True}, 'is a ReLU after a depthwise convolution or an average pool'),
    ({'family': 'comparison', 'unit': 'vgg', 'stages': (8, 8, 8), 'stem': 8},
     r'a 3x3 convolution of 8 channels in 1 groups: expected 1x1, or 3x3 with one channel per group'),
], ids=['se', 'bare_stem', 'vgg'])
def test_other_networks(options, message):
    with pytest.raises(UnsupportedGraphError, match=message):
        read(exported(options))


@pytest.mark.parametrize(('spec', 'message'), [
    (CardInput('NCHW', 'float32', SIZE, 'rgb'), 'an input of NCHW float32: expected NHWC uint8'),
    (CardInput('NHWC', 'uint8', (64, 100), 'rgb'),
     'a frame of 64x100: expected sides that are multiples of 32'),
    (CardInput('NHWC', 'uint8', (32, 64), 'rgb'), 'from 64 to 512'),
    (CardInput('NHWC', 'uint8', (64, 544), 'rgb'), 'from 64 to 512'),
    (CardInput('NHWC', 'uint8', (64, 64), 'rgb'), r'shapes .*96.* expected one of \(1, 64, 64, 3\)'),
])
def test_other_frames(spec, message, v1):
    with pytest.raises(UnsupportedGraphError, match=message):
        read_network(v1, spec, OUTPUTS)


def test_wrong_outputs_and_bytes_that_are_no_graph(v1):
    spec = CardInput('NHWC', 'uint8', SIZE, 'rgb')
    with pytest.raises(UnsupportedGraphError, match="'embedding' does not come from a linear layer"):
        read_network(v1, spec, {'logits': 'embedding'})
    with pytest.raises(UnsupportedGraphError, match='is not the input of the linear layer'):
        read_network(v1, spec, {'logits': 'logits', 'embedding': 'logits'})
    with pytest.raises(UnsupportedGraphError, match='is not a valid ONNX model'):
        read_network(b'\xff', spec, OUTPUTS)
    assert error_of(v1, read_network(v1, spec, {'logits': 'logits'})) < WITHIN
