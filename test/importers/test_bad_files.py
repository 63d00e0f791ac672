"""Files that are none, not whole, or not harmless: one error that names the key and the remedy."""

import io
import zipfile
from pathlib import Path

import pytest

torch = pytest.importorskip('torch')

from shufflenet_ros.bundles.errors import ModelError  # noqa: E402
from shufflenet_ros.importers.convert import convert, recognize  # noqa: E402
from shufflenet_ros.importers.layouts import LAYOUTS  # noqa: E402
from shufflenet_ros.importers.state_file import plain, read_state  # noqa: E402
from shufflenet_ros.zoo.errors import ZooError  # noqa: E402
from shufflenet_ros.zoo.registry import build, config_of  # noqa: E402


class RunsCode:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def torchvision_state():
    """Our v2 has torchvision's names in the stages; the others are given back here."""
    names = {'stem.0': 'conv1.0', 'stem.1': 'conv1.1', 'last.0': 'conv5.0', 'last.1': 'conv5.1'}
    state = build(config_of('shufflenet_v2_x0_5', classes=3)).state_dict()
    return {names.get(key[:6], key[:6]) + key[6:]: value for key, value in state.items()}


def save(folder, content):
    path = folder / 'file.pth'
    torch.save(content, path)
    return path


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path):
    marker = tmp_path / 'ran'
    with pytest.raises(ZooError, match='no checkpoint of plain tensors.*never loaded'):
        read_state(save(tmp_path, {'conv1.0.weight': RunsCode(marker)}))
    assert not marker.exists()


def test_a_saved_module_is_refused(tmp_path):
    with pytest.raises(ZooError, match=r'expected a state dict saved with torch.save\(model.state_dict'):
        read_state(save(tmp_path, torch.nn.Linear(2, 2)))


@pytest.mark.parametrize('content', [b'\x00' * 64, b'PK\x03\x04' + b'\x00' * 100, b'not a pickle'])
def test_bytes_that_are_no_checkpoint_are_refused(content, tmp_path):
    (tmp_path / 'file.pth').write_bytes(content)
    with pytest.raises(ZooError, match='no checkpoint of plain tensors'):
        read_state(tmp_path / 'file.pth')


def test_a_cut_file_is_refused(tmp_path):
    path = save(tmp_path, torchvision_state())
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ZooError, match='no checkpoint of plain tensors'):
        read_state(path)


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(ModelError, match='cannot be read'):
        read_state(tmp_path / 'nowhere.pth')


@pytest.mark.parametrize('content, message', [
    (3, 'holds int: expected a dict of tensors'), ({}, 'expected a dict of tensors'),
    ({'optimizer': {'lr': 3}}, "'optimizer' is dict: expected tensors by name alone"),
    ({'a': torch.ones(1), 'module.a': torch.ones(1)}, 'two tensors are named a'),
    ({'a': torch.tensor([float('nan')])}, 'a holds values that are not finite'),
    ({'a': torch.ones(1), 'b': 'text'}, "'b' is str: expected tensors by name alone"),
])
def test_what_is_no_state_dict_is_refused(content, message):
    with pytest.raises(ZooError, match=message):
        plain(content, 'file')


def test_unknown_tensors_name_the_layouts():
    with pytest.raises(ZooError, match=r'encoder.weight are of no layout.*features.0.branch_proj.0.weight'):
        convert({'encoder.weight': torch.ones(1)})
    with pytest.raises(ZooError, match="no layout 'caffe': expected one of pytorchcv_v1"):
        recognize({}, 'caffe')


@pytest.mark.parametrize('key', [
    'stage3.4.branch2.5.weight', 'conv1.1.running_var', 'stage2.0.branch1.2.weight'])
def test_a_missing_tensor_is_named(key):
    state = torchvision_state()
    del state[key]
    with pytest.raises(ZooError, match=r'stage3.4.branch2.5|stem.1.running_var|stage2.0.branch1.2'):
        convert(state)


def test_a_lost_bias_is_no_backbone_without_head():
    state = torchvision_state()
    del state['fc.bias']
    with pytest.raises(ZooError, match='nothing for fc.bias'):
        convert(state)


def test_a_tensor_left_over_is_named():
    with pytest.raises(ZooError, match='no place for aux.weight'):
        convert(torchvision_state() | {'aux.weight': torch.ones(1)})
    with pytest.raises(ZooError, match=r'stage2.4.branch2.0.weight: the network .* has no such part'):
        convert(torchvision_state() | {'stage2.4.branch2.0.weight': torch.ones(24, 24, 1, 1)})


@pytest.mark.parametrize('key, shape', [
    ('stage3.4.branch2.3.weight', (48, 1, 5, 5)), ('fc.weight', (3,)), ('fc.bias', (4,)),
    ('stage2.0.branch1.2.weight', (24, 24)), ('conv1.1.weight', (23,)),
])
def test_a_wrong_shape_is_named_with_the_expected_one(key, shape):
    with pytest.raises(ZooError, match=r'shape \[.*\]: expected'):
        convert(torchvision_state() | {key: torch.ones(shape)})


@pytest.mark.parametrize('layout', sorted(set(LAYOUTS) - {'torchvision_v2'}))
def test_the_wrong_layout_is_refused(layout):
    with pytest.raises(ZooError, match='expected'):
        convert(torchvision_state(), layout)


def test_the_one_pth_in_a_zip_is_read_and_two_are_refused(tmp_path):
    buffer = io.BytesIO()
    # the form before 2020, which pytorchcv's files have
    torch.save(torchvision_state(), buffer, _use_new_zipfile_serialization=False)
    path = tmp_path / 'net.pth.zip'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('net.pth', buffer.getvalue())
    assert convert(read_state(path)).layout == 'torchvision_v2'
    with zipfile.ZipFile(path, 'a') as archive:
        archive.writestr('other.pth', b'')
    with pytest.raises(ZooError, match='holds 2 checkpoints'):
        read_state(path)
