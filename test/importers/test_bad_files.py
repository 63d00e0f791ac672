# SPDX-License-Identifier: Apache-2.0
"""Files that are not checkpoints, not whole, or hostile: one error that names the key and the remedy."""

import io
import zipfile
from pathlib import Path

import pytest

torch = pytest.importorskip('torch')

import foreign_weights as foreign  # noqa: E402

from shufflenet_ros.bundles.errors import ModelError  # noqa: E402
from shufflenet_ros.importers.convert import convert  # noqa: E402
from shufflenet_ros.importers.layouts import LAYOUTS  # noqa: E402
from shufflenet_ros.importers.state_file import plain  # noqa: E402
from shufflenet_ros.zoo.errors import ZooError  # noqa: E402
from shufflenet_ros.zoo.registry import build, config_of  # noqa: E402


class RunsCode:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def torchvision_state():
    """Our v2 with torchvision's names of stem and last convolution; the stages have the same names."""
    names = {'stem.0': 'conv1.0', 'stem.1': 'conv1.1', 'last.0': 'conv5.0', 'last.1': 'conv5.1'}
    state = build(config_of('shufflenet_v2_x0_5', classes=3)).state_dict()
    return {names.get(key[:6], key[:6]) + key[6:]: value for key, value in state.items()}


def save(folder, content):
    path = folder / 'file.pth'
    torch.save(content, path)
    return path


def test_code_in_a_pickle_is_not_run(tmp_path):
    marker = tmp_path / 'ran'
    with pytest.raises(ZooError, match='not a checkpoint of plain tensors.*never loaded'):
        foreign.read_state(save(tmp_path, {'conv1.0.weight': RunsCode(marker)}))
    assert not marker.exists()


def test_a_saved_module(tmp_path):
    with pytest.raises(ZooError, match=r'expected a state dict saved with torch.save\(model.state_dict'):
        foreign.read_state(save(tmp_path, torch.nn.Linear(2, 2)))


@pytest.mark.parametrize('content', [
    b'\x00' * 64, b'PK\x03\x04' + b'\x00' * 100, b'not a pickle', 'truncated'])
def test_bytes_that_are_not_a_checkpoint(content, tmp_path):
    if content == 'truncated':
        content = save(tmp_path, torchvision_state()).read_bytes()[:-1000]
    (tmp_path / 'file.pth').write_bytes(content)
    with pytest.raises(ZooError, match='not a checkpoint of plain tensors'):
        foreign.read_state(tmp_path / 'file.pth')


def test_a_missing_file(tmp_path):
    with pytest.raises(ModelError, match='cannot be read'):
        foreign.read_state(tmp_path / 'nowhere.pth')


@pytest.mark.parametrize('content, message', [
    (3, 'holds int: expected a dict of tensors'), ({}, 'expected a dict of tensors'),
    ({'optimizer': {'lr': 3}}, "'optimizer' is dict: expected only tensors by name"),
    ({'a': torch.ones(1), 'module.a': torch.ones(1)}, 'two tensors are named a'),
    ({'a': torch.tensor([float('nan')])}, 'a holds values that are not finite'),
    ({'a': torch.ones(1), 'b': 'text'}, "'b' is str: expected only tensors by name"),
])
def test_something_else_than_a_state_dict(content, message):
    with pytest.raises(ZooError, match=message):
        plain(content, 'file')


@pytest.mark.parametrize('removed, added, layout, message', [
    (..., {'encoder.weight': (1,)}, '', r'encoder.weight have an unknown.*features.0.branch_proj.0.weight'),
    ((), {}, 'caffe', "no layout 'caffe': expected one of pytorchcv_v1"),
    *((key, {}, '', r'stage3.4.branch2.5|stem.1.running_var|stage2.0.branch1.2')
      for key in ('stage3.4.branch2.5.weight', 'conv1.1.running_var', 'stage2.0.branch1.2.weight')),
    # without its bias alone, the linear layer is not a missing head
    ('fc.bias', {}, '', 'nothing for fc.bias'),
    ((), {'aux.weight': (1,)}, '', 'does not know aux.weight'),
    ((), {f'stage2.{"9" * 5000}.branch2.0.weight': (1,)}, '', 'does not know stage2.9'),
    # A network of this width has terabytes.
    ((), {'stage2.0.branch1.2.weight': (4_000_000, 1, 1, 1)}, '', r'shape \[4000000, 1, 1, 1\]: expected'),
    ((), {'stage2.4.branch2.0.weight': (24, 24, 1, 1)}, '', 'stage2.4.branch2.0.weight: no such part in the'),
    *(((), {key: shape}, '', r'shape \[.*\]: expected') for key, shape in (
        ('stage3.4.branch2.3.weight', (48, 1, 5, 5)), ('fc.weight', (3,)), ('fc.bias', (4,)),
        ('stage2.0.branch1.2.weight', (24, 24)), ('conv1.1.weight', (23,)))),
    *(((), {}, layout, 'expected') for layout in sorted(set(LAYOUTS) - {'torchvision_v2'})),
])
def test_a_state_dict_of_another_network_or_layout(removed, added, layout, message):
    state = {} if removed is ... else torchvision_state()
    if isinstance(removed, str):
        del state[removed]
    with pytest.raises(ZooError, match=message):
        convert(state | {key: torch.ones(shape) for key, shape in added.items()}, layout)


def test_the_only_pth_in_a_zip_is_read_and_two_are_an_error(tmp_path):
    buffer = io.BytesIO()
    # the format before 2020, which pytorchcv's files have
    torch.save(torchvision_state(), buffer, _use_new_zipfile_serialization=False)
    path = tmp_path / 'net.pth.zip'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('net.pth', buffer.getvalue())
    assert convert(foreign.read_state(path)).layout == 'torchvision_v2'
    with zipfile.ZipFile(path, 'a') as archive:
        archive.writestr('other.pth', b'')
    with pytest.raises(ZooError, match='holds 2 checkpoints'):
        foreign.read_state(path)
