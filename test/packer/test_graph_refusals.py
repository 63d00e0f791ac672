"""What our kernels cannot compute exactly is refused, with the node and the reason."""

import numpy as np
import pytest

pytest.importorskip('torch')
pytest.importorskip('onnx')

from graph_drafts import OUTPUTS, SIZE, V1, V2, WITHIN, Draft, exported, off, taken
from onnx import TensorProto, helper

from shufflenet_ros.core.card import CardInput
from shufflenet_ros.packer.errors import UnsupportedGraphError
from shufflenet_ros.packer.graph import read_network


@pytest.fixture(scope='module')
def v1() -> bytes:
    return exported(V1)


def softmax(draft: Draft) -> None:
    draft.find('Gemm').output[0] = 'raw'
    draft.graph.node.append(helper.make_node('Softmax', ['raw'], ['logits'], name='odds'))


REFUSED = {
    'an operator': (lambda d: d.after(d.find('Relu'), 'HardSwish'),
                    "HardSwish 'HardSwish behind .*': is an operator that our kernels do not have"),
    'another domain': (lambda d: d.after(d.find('Relu'), 'Relu', domain='com.example'),
                       "com.example.Relu 'Relu behind .*': is an operator"),
    'a large window': (lambda d: d.set(d.find('Conv', 2), 'pads', [0, 0, 0, 0]),
                       r'pads \[0, 0, 0, 0\]: expected 3x3, strides 1 or 2, pads \[1, 1, 1, 1\]'),
    'holes': (lambda d: d.set(d.find('Conv', 2), 'dilations', [2, 2]), 'auto_pad or dilations'),
    'automatic pads': (lambda d: d.set(d.find('Conv', 2), 'auto_pad', 'SAME_UPPER'), 'auto_pad or dilations'),
    'a mean without padding': (lambda d: d.set(d.find('AveragePool'), 'count_include_pad', 0),
                               'leaves the padding out of its means: expected count_include_pad 1'),
    'another pool': (lambda d: d.set(d.find('MaxPool'), 'ceil_mode', 1),
                     r'pads \[1, 1, 1, 1\], ceil_mode: expected'),
    'pixels moved': (lambda d: d.set(d.find('Transpose', 1), 'perm', [0, 2, 1, 4, 3]), 'moves pixels'),
    'the frame turned': (lambda d: d.set(d.find('Transpose'), 'perm', [0, 3, 2, 1]),
                         r'turns the axes of the frame by \[0, 3, 2, 1\]: expected \[0, 3, 1, 2\], once'),
    'half precision': (lambda d: d.set(d.find('Cast'), 'to', TensorProto.FLOAT16),
                       'another type than float32'),
    'other means': (lambda d: d.set(d.find('ReduceMean'), 'axes', [1, 2]),
                    r'axes \[1, 2\]: expected \[2, 3\]'),
    'softmax': (softmax, "Softmax 'odds': is an operator"),
    'bytes scaled': (lambda d: d.after(d.find('Transpose'), 'Add', d.constant(np.float32(1))),
                     'works on bytes'),
    'a mean beyond': (lambda d: d.after(d.find('Sub'), 'Sub', d.constant(np.float32(300))), 'a mean of '),
    'pixels scaled apart': (lambda d: d.after(d.find('Sub'), 'Mul',
                                              d.constant(np.ones((1, 1, *SIZE), np.float32))),
                            'expected one value for each of 3 channels'),
    'scaled after ReLU': (lambda d: d.after(d.find('Relu', 1), 'Mul', d.constant(np.float32(2))),
                          'scales what a ReLU, a pool or a sum has given'),
    'weights from elsewhere': (lambda d: d.find('Conv', 1).input.__setitem__(1, 'nowhere'), 'is computed'),
    'a ReLU behind a depthwise convolution': (lambda d: d.after(d.find('Conv', 2), 'Relu'),
                                              "Relu 'Relu behind .*': cuts off values of a depthwise"),
    'twice the same': (lambda d: d.find('Add').input.__setitem__(0, d.find('Add').input[1]),
                       'changes values that something else reads as they were'),
}


@pytest.mark.parametrize('case', REFUSED)
def test_what_is_not_the_same_is_refused_with_node_and_reason(case, v1):
    draft = Draft(v1)
    change, words = REFUSED[case]
    change(draft)
    with pytest.raises(UnsupportedGraphError, match=words):
        taken(draft.bytes())


@pytest.mark.parametrize(('options', 'words'), [
    ({'se': True}, r"^Conv '.*': a convolution of means, such as squeeze-and-excitation has"),
    ({'bare_stem': True}, 'cuts off values of a depthwise convolution, or of a mean'),
    ({'family': 'comparison', 'unit': 'vgg', 'stages': (8, 8, 8), 'stem': 8},
     r'a 3x3 convolution of 8 channels in 1 groups: expected 1x1, or 3x3 with a group a channel'),
], ids=['se', 'bare_stem', 'vgg'])
def test_other_networks_are_refused(options, words):
    with pytest.raises(UnsupportedGraphError, match=words):
        taken(exported({'width': 0.25, **options} if 'unit' not in options else options))


def test_a_stem_without_a_relu_is_refused():
    draft = Draft(exported(V2))
    draft.find('Relu').op_type = 'Identity'
    with pytest.raises(UnsupportedGraphError, match='no ReLU follows the first convolution'):
        taken(draft.bytes())


@pytest.mark.parametrize(('spec', 'words'), [
    (CardInput('NCHW', 'float32', SIZE, 'rgb'), 'an input of NCHW float32: expected NHWC uint8'),
    (CardInput('NHWC', 'uint8', (64, 100), 'rgb'),
     'a frame of 64x100: expected sides that are multiples of 32'),
    (CardInput('NHWC', 'uint8', (32, 64), 'rgb'), 'from 64 to 512'),
    (CardInput('NHWC', 'uint8', (64, 544), 'rgb'), 'from 64 to 512'),
    (CardInput('NHWC', 'uint8', (64, 64), 'rgb'), r'shapes .*96.* expected one of \(1, 64, 64, 3\)'),
])
def test_frames_that_kernels_do_not_take_are_refused(spec, words, v1):
    with pytest.raises(UnsupportedGraphError, match=words):
        read_network(v1, spec, OUTPUTS)


def test_open_shapes_float_inputs_and_wrong_outputs_are_refused(v1):
    draft = Draft(v1)
    draft.graph.input[0].type.tensor_type.shape.dim[0].dim_param = 'batch'
    with pytest.raises(UnsupportedGraphError, match=r"\('batch', 64, 96, 3\)"):
        taken(draft.bytes())
    draft = Draft(v1)
    draft.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT
    with pytest.raises(UnsupportedGraphError, match='no uint8'):
        taken(draft.bytes())
    spec = CardInput('NHWC', 'uint8', SIZE, 'rgb')
    with pytest.raises(UnsupportedGraphError, match="'embedding' is not what a linear layer gives"):
        read_network(v1, spec, {'logits': 'embedding'})
    with pytest.raises(UnsupportedGraphError, match='is not what the linear layer takes'):
        read_network(v1, spec, {'logits': 'logits', 'embedding': 'logits'})
    with pytest.raises(UnsupportedGraphError, match='bytes that are none'):
        read_network(b'\xff', spec, OUTPUTS)
    alone = read_network(v1, spec, {'logits': 'logits'})
    assert off(v1, alone) < WITHIN
