# SPDX-License-Identifier: Apache-2.0
"""The layouts of state dicts that can be imported: one row per project, with all differences from ours."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from shufflenet_ros.importers.channel_order import shuffle_after_depthwise, split_even_odd
from shufflenet_ros.importers.weights import Weights
from shufflenet_ros.zoo.normalization import IMAGENET, Normalization

BYTES = Normalization((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255))
"""For networks whose input is pixels from 0 to 255."""
UNIT = Normalization((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
"""For networks whose input is pixels from 0 to 1."""

Rule = tuple[str, str]
_LEAF = r'\.(?P<leaf>\w+)'


@dataclass(frozen=True)
class Layout:
    """How a project names and orders its tensors, and what input its networks take.

    Attributes:
        name: value of `--layout`.
        family: of the network.
        marker: a key that only this layout has, in the network's first unit or before.
        rules: (regular expression of a whole key, our key); {name} in ours is the group of that name.
            Groups `stage` and `unit` are numbers counted from `first_stage` and `first_unit`; `flat` is a
            unit's number through all stages.
        options: of our configuration, to match the source network; the step may remove them.
        conv_bias: convolutions before BN have a bias.
        fc_bias: the linear layer has a bias.
        step: reorders the channels, if the project shuffles differently.
        normalization: of the training images.
        bgr: the network takes BGR images; the first convolution's input channels are reversed.
        crop: side of the center crop that the authors evaluate on, as a fraction of the short side.
    """

    name: str
    family: str
    marker: str
    rules: tuple[Rule, ...]
    first_stage: int = 2
    first_unit: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    conv_bias: bool = False
    fc_bias: bool = True
    step: Callable[[Weights], Weights] | None = None
    normalization: Normalization = IMAGENET
    bgr: bool = False
    crop: float = 0.875


def _rules(modules: Mapping[str, str], unit: str, unit_modules: Mapping[str, str]) -> tuple[Rule, ...]:
    """Rules for modules and for a unit's modules, as their name -> ours; `unit` matches a unit's prefix."""
    plain = [(theirs.replace('.', r'\.') + _LEAF, f'{ours}.{{leaf}}') for theirs, ours in modules.items()]
    units = [(unit + r'\.' + theirs.replace('.', r'\.') + _LEAF, f'stage{{stage}}.{{unit}}.{ours}.{{leaf}}')
             for theirs, ours in unit_modules.items()]
    return (*plain, *units)


_V1_UNIT = ('compress', 'compress_bn', 'depthwise', 'depthwise_bn', 'expand', 'expand_bn')
_V2_UNIT = (*(f'branch2.{i}' for i in (0, 1, 3, 4, 5, 6)), *(f'branch1.{i}' for i in range(4)))
_FLAT = r'features\.(?P<flat>\d{1,4})'
_STAGED = r'stage(?P<stage>\d)\.(?P<unit>\d{1,4})'


def _unit(ours: tuple[str, ...], theirs: str) -> dict[str, str]:
    return dict(zip(theirs.split(), ours, strict=True))


_PYTORCHCV_UNIT = r'features\.stage(?P<stage>\d)\.unit(?P<unit>\d{1,4})'
_MEGVII_STEM = {'first_conv.0': 'stem.0', 'first_conv.1': 'stem.1'}
_MEGVII_HEAD = {'conv_last.0': 'last.0', 'conv_last.1': 'last.1', 'classifier.0': 'fc'}
_MEGVII_V2_UNIT = _unit(_V2_UNIT, 'branch_main.0 branch_main.1 branch_main.3 branch_main.4 branch_main.5 '
                        'branch_main.6 branch_proj.0 branch_proj.1 branch_proj.2 branch_proj.3')

_ENTRIES = (
    Layout(
        'pytorchcv_v1', 'shufflenet_v1', 'features.init_block.bn.weight',
        _rules({'features.init_block.conv': 'stem.0', 'features.init_block.bn': 'stem.1', 'output': 'fc'},
               _PYTORCHCV_UNIT,
               _unit(_V1_UNIT, 'compress_conv1 compress_bn1 dw_conv2 dw_bn2 expand_conv3 expand_bn3')),
        first_stage=1, first_unit=1),
    Layout(
        'pytorchcv_v2', 'shufflenet_v2', 'features.stage1.unit1.dw_conv4.weight',
        _rules({'features.init_block.conv.conv': 'stem.0', 'features.init_block.conv.bn': 'stem.1',
                'features.final_block.conv': 'last.0', 'features.final_block.bn': 'last.1', 'output': 'fc'},
               _PYTORCHCV_UNIT,
               _unit(_V2_UNIT, 'compress_conv1 compress_bn1 dw_conv2 dw_bn2 expand_conv3 expand_bn3 '
                     'dw_conv4 dw_bn4 expand_conv5 expand_bn5')),
        first_stage=1, first_unit=1, options={'ceil_pool': True}),
    Layout(
        'torchvision_v2', 'shufflenet_v2', 'stage2.0.branch1.0.weight',
        _rules({'conv1.0': 'stem.0', 'conv1.1': 'stem.1', 'conv5.0': 'last.0', 'conv5.1': 'last.1',
                'fc': 'fc'}, _STAGED, _unit(_V2_UNIT, ' '.join(_V2_UNIT)))),
    Layout(
        'megvii_v1', 'shufflenet_v1', 'features.0.branch_main_1.0.weight',
        _rules({**_MEGVII_STEM, 'classifier.0': 'fc'}, _FLAT,
               _unit(_V1_UNIT, 'branch_main_1.0 branch_main_1.1 branch_main_1.3 branch_main_1.4 '
                     'branch_main_2.0 branch_main_2.1')),
        options={'shortcut_first': True, 'shuffle_inverse': True}, fc_bias=False,
        step=shuffle_after_depthwise, normalization=BYTES, bgr=True),
    Layout(
        'megvii_v2', 'shufflenet_v2', 'features.0.branch_proj.0.weight',
        _rules({**_MEGVII_STEM, **_MEGVII_HEAD}, _FLAT, _MEGVII_V2_UNIT),
        options={'megvii': True}, fc_bias=False, step=split_even_odd, normalization=BYTES, bgr=True),
    # The same network with its units in stages, as in published backbones for other tasks.
    Layout(
        'megvii_v2_staged', 'shufflenet_v2', 'stage2.0.branch_proj.0.weight',
        _rules({**_MEGVII_STEM, **_MEGVII_HEAD}, _STAGED, _MEGVII_V2_UNIT),
        options={'megvii': True}, fc_bias=False, step=split_even_odd, normalization=UNIT),
    Layout(
        'jaxony', 'shufflenet_v1', 'stage2.ShuffleUnit_Stage2_0.depthwise_conv3x3.weight',
        _rules({'conv1': 'stem.0', 'fc': 'fc'},
               r'stage(?P<stage>\d)\.ShuffleUnit_Stage(?P=stage)_(?P<unit>\d{1,4})',
               _unit(_V1_UNIT, 'g_conv_1x1_compress.conv1x1 g_conv_1x1_compress.batch_norm depthwise_conv3x3 '
                     'bn_after_depthwise g_conv_1x1_expand.conv1x1 g_conv_1x1_expand.batch_norm')),
        options={'shortcut_first': True, 'bare_stem': True}, conv_bias=True),
    Layout(
        'mmpretrain_v1', 'shufflenet_v1', 'layers.0.0.g_conv_1x1_compress.conv.weight',
        _rules({'conv1.conv': 'stem.0', 'conv1.bn': 'stem.1', 'fc': 'fc'},
               r'layers\.(?P<stage>\d)\.(?P<unit>\d{1,4})',
               _unit(_V1_UNIT, 'g_conv_1x1_compress.conv g_conv_1x1_compress.bn depthwise_conv3x3_bn.conv '
                     'depthwise_conv3x3_bn.bn g_conv_1x1_expand.conv g_conv_1x1_expand.bn')),
        first_stage=0, options={'shortcut_first': True}, step=shuffle_after_depthwise),
)

LAYOUTS: Mapping[str, Layout] = {layout.name: layout for layout in _ENTRIES}
