# SPDX-License-Identifier: Apache-2.0
"""Every network of the zoo by name, one line each. Recipes, cards and all verbs use these names."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, TypeAlias

from shufflenet_ros.zoo.backbone import Backbone
from shufflenet_ros.zoo.comparison import ComparisonConfig, ComparisonNet
from shufflenet_ros.zoo.errors import ZooError
from shufflenet_ros.zoo.shufflenet_v1 import ShuffleNetV1, ShuffleNetV1Config
from shufflenet_ros.zoo.shufflenet_v2 import ShuffleNetV2, ShuffleNetV2Config

Config: TypeAlias = ShuffleNetV1Config | ShuffleNetV2Config | ComparisonConfig

# The class of a family's configuration, and of its networks.
FAMILIES: Mapping[str, tuple[type[Config], Callable[[Any], Backbone]]] = {
    'shufflenet_v1': (ShuffleNetV1Config, ShuffleNetV1),
    'shufflenet_v2': (ShuffleNetV2Config, ShuffleNetV2),
    'comparison': (ComparisonConfig, ComparisonNet),
}


@dataclass(frozen=True)
class NetworkEntry:
    """A named network.

    Attributes:
        config: for 1000 classes.
        error: published ImageNet top-1 error in %, single center crop; None if nobody published one.
        source: who published it.
        note: our own choices, or why the network is listed.
    """

    config: Config
    error: float | None = None
    source: str = ''
    note: str = ''


PAPER = 'ShuffleNet, CVPR 2018, Table 2'
TABLE_3 = 'ShuffleNet, CVPR 2018, Table 3'
TABLE_4 = 'ShuffleNet, CVPR 2018, Table 4'
TABLE_5 = 'ShuffleNet, CVPR 2018, Table 5'
V2_PAPER = 'ShuffleNet v2, ECCV 2018, Table 8'
MEGVII = 're-training by Megvii (ShuffleNet-Series)'
OSMR = 're-training by osmr (imgclsmob)'
SHALLOW = (168, 336, 672)
OUR_WIDTHS = 'our choice: widths for this cost, stem, stride-2 units; the paper gives none of them'
PAPER_WIDTH = "the paper's 192 in stage 4; our choice: stem and stride-2 units, with which it gives the 38M"
CARDINAL = '; bottlenecks of the multiple of 16 nearest to half'
_V1, _V2, _Comparison = ShuffleNetV1Config, ShuffleNetV2Config, ComparisonConfig

NETWORKS: Mapping[str, NetworkEntry] = {
    'shufflenet_v1_x0_25_g1': NetworkEntry(_V1(1, 0.25), 57.1, PAPER),
    'shufflenet_v1_x0_25_g2': NetworkEntry(_V1(2, 0.25), 56.8, PAPER),
    'shufflenet_v1_x0_25_g3': NetworkEntry(_V1(3, 0.25), 55.0, PAPER),
    'shufflenet_v1_x0_25_g4': NetworkEntry(_V1(4, 0.25), 54.2, PAPER),
    'shufflenet_v1_x0_25_g8': NetworkEntry(_V1(8, 0.25), 52.7, PAPER),
    'shufflenet_v1_x0_5_g1': NetworkEntry(_V1(1, 0.5), 45.1, PAPER),
    'shufflenet_v1_x0_5_g2': NetworkEntry(_V1(2, 0.5), 44.4, PAPER),
    'shufflenet_v1_x0_5_g3': NetworkEntry(_V1(3, 0.5), 43.2, PAPER),
    'shufflenet_v1_x0_5_g4': NetworkEntry(_V1(4, 0.5), 41.6, PAPER),
    'shufflenet_v1_x0_5_g8': NetworkEntry(_V1(8, 0.5), 42.3, PAPER),
    'shufflenet_v1_x0_75_g1': NetworkEntry(_V1(1, 0.75), 39.25, OSMR),
    'shufflenet_v1_x0_75_g2': NetworkEntry(_V1(2, 0.75)),
    'shufflenet_v1_x0_75_g3': NetworkEntry(_V1(3, 0.75), 37.81, OSMR),
    'shufflenet_v1_x0_75_g4': NetworkEntry(_V1(4, 0.75)),
    'shufflenet_v1_x0_75_g8': NetworkEntry(_V1(8, 0.75)),
    'shufflenet_v1_x1_0_g1': NetworkEntry(_V1(1, 1.0), 33.6, PAPER),
    'shufflenet_v1_x1_0_g2': NetworkEntry(_V1(2, 1.0), 32.7, PAPER),
    'shufflenet_v1_x1_0_g3': NetworkEntry(_V1(3, 1.0), 32.6, PAPER),
    'shufflenet_v1_x1_0_g4': NetworkEntry(_V1(4, 1.0), 32.8, PAPER),
    'shufflenet_v1_x1_0_g8': NetworkEntry(_V1(8, 1.0), 32.4, PAPER),
    'shufflenet_v1_x1_5_g1': NetworkEntry(_V1(1, 1.5)),
    'shufflenet_v1_x1_5_g2': NetworkEntry(_V1(2, 1.5)),
    'shufflenet_v1_x1_5_g3': NetworkEntry(_V1(3, 1.5), 28.5, TABLE_5, 'stem of 24, which gives the 292M'),
    'shufflenet_v1_x1_5_g4': NetworkEntry(_V1(4, 1.5)),
    'shufflenet_v1_x1_5_g8': NetworkEntry(_V1(8, 1.5), 29.0, MEGVII),
    'shufflenet_v1_x2_0_g1': NetworkEntry(_V1(1, 2.0)),
    'shufflenet_v1_x2_0_g2': NetworkEntry(_V1(2, 2.0)),
    'shufflenet_v1_x2_0_g3': NetworkEntry(_V1(3, 2.0), 26.3, TABLE_5),
    'shufflenet_v1_x2_0_g4': NetworkEntry(_V1(4, 2.0)),
    'shufflenet_v1_x2_0_g8': NetworkEntry(_V1(8, 2.0), 27.1, MEGVII),
    # Table 3: the same networks without shuffle.
    'shufflenet_v1_x0_25_g3_noshuffle': NetworkEntry(_V1(3, 0.25, shuffle=False), 56.3, TABLE_3),
    'shufflenet_v1_x0_25_g8_noshuffle': NetworkEntry(_V1(8, 0.25, shuffle=False), 56.5, TABLE_3),
    'shufflenet_v1_x0_5_g3_noshuffle': NetworkEntry(_V1(3, 0.5, shuffle=False), 45.7, TABLE_3),
    'shufflenet_v1_x0_5_g8_noshuffle': NetworkEntry(_V1(8, 0.5, shuffle=False), 48.1, TABLE_3),
    'shufflenet_v1_x1_0_g3_noshuffle': NetworkEntry(_V1(3, 1.0, shuffle=False), 34.5, TABLE_3),
    'shufflenet_v1_x1_0_g8_noshuffle': NetworkEntry(_V1(8, 1.0, shuffle=False), 37.6, TABLE_3),
    # Table 5's other two. The paper gives no widths, and not where the squeeze goes.
    'shufflenet_v1_x0_5_g3_shallow': NetworkEntry(
        _V1(3, 0.5, stages=SHALLOW, repeats=(2, 4, 2)), 42.8, TABLE_5,
        'our choice: 2/4/2 units at 168/336/672 channels, stem 12; the paper gives 40M and no widths'),
    'shufflenet_v1_x2_0_g3_se': NetworkEntry(
        _V1(3, 2.0, se=True), 24.7, TABLE_5,
        'our choice: on the residual branch, reduction 16, which gives the 527M; the paper gives no place'),
    # Other stems, for published weights and other implementations.
    'shufflenet_v1_x0_25_g1_stem6': NetworkEntry(_V1(1, 0.25, stem=6), 62.00, OSMR, "osmr's stem"),
    'shufflenet_v1_x0_25_g3_stem6': NetworkEntry(_V1(3, 0.25, stem=6), 61.34, OSMR, "osmr's stem"),
    'shufflenet_v1_x1_5_g3_stem36': NetworkEntry(
        _V1(3, 1.5, stem=36), note='the stem scaled like the rest; matches no figure of the paper'),
    'shufflenet_v2_x0_5': NetworkEntry(_V2(0.5), 39.7, V2_PAPER),
    'shufflenet_v2_x1_0': NetworkEntry(_V2(1.0), 30.6, V2_PAPER),
    'shufflenet_v2_x1_5': NetworkEntry(_V2(1.5), 27.4, V2_PAPER),
    'shufflenet_v2_x2_0': NetworkEntry(_V2(2.0), 25.1, V2_PAPER),
    # Table 4: other units at the cost of ShuffleNet 1x, 0.5x and 0.25x. Xception-like: the g1 networks above.
    'vgg_like_140m': NetworkEntry(_Comparison('vgg', (25, 49, 98), 24), 50.7, TABLE_4, OUR_WIDTHS),
    'resnet_like_140m': NetworkEntry(_Comparison('resnet', (94, 188, 376), 24), 37.3, TABLE_4, OUR_WIDTHS),
    'resnet_like_38m': NetworkEntry(_Comparison('resnet', (48, 96, 192), 12), 48.8, TABLE_4, PAPER_WIDTH),
    'resnet_like_13m': NetworkEntry(_Comparison('resnet', (24, 48, 96), 12), 63.7, TABLE_4, OUR_WIDTHS),
    'resnext_like_140m': NetworkEntry(
        _Comparison('resnext', (89, 178, 356), 24), 33.3, TABLE_4, OUR_WIDTHS + CARDINAL),
    'resnext_like_38m': NetworkEntry(
        _Comparison('resnext', (48, 96, 192), 12), 46.0, TABLE_4, PAPER_WIDTH + CARDINAL),
    'resnext_like_13m': NetworkEntry(
        _Comparison('resnext', (24, 48, 96), 12), 65.2, TABLE_4, OUR_WIDTHS + CARDINAL),
}


def build(config: Config) -> Backbone:
    """The network of a configuration, with random weights.

    Raises:
        ZooError: the configuration is of no known family, or no network can be built from it.
    """
    for config_type, network in FAMILIES.values():
        if isinstance(config, config_type):
            try:
                return network(config)
            except ZooError:
                raise
            except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:  # a field of another type
                raise ZooError(f'{config}: no network can be built from it ({error}); fix its '
                               'fields') from error
    raise ZooError(f'{type(config).__name__}: expected the configuration of one of {sorted(FAMILIES)}')


def config_of(network: str | Mapping[str, Any], classes: int = 1000) -> Config:
    """The configuration for a network entry of a recipe or card.

    Args:
        network: a name of the registry, or a mapping of a configuration's fields with its `family`
            (default: shufflenet_v1), without `classes`.

    Raises:
        ZooError: an unknown name, family or field.
    """
    if isinstance(network, str):
        if network not in NETWORKS:
            raise ZooError(f'unknown network {network!r}: expected one of {", ".join(NETWORKS)}')
        return replace(NETWORKS[network].config, classes=classes)
    values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in network.items()}
    family = values.pop('family', 'shufflenet_v1')
    if family not in FAMILIES:
        raise ZooError(f'unknown family {family!r}: expected one of {", ".join(FAMILIES)}')
    config_type = FAMILIES[family][0]
    known = {field.name for field in fields(config_type)} - {'classes'}
    if unknown := sorted(map(str, set(values) - known)):
        raise ZooError(f'{family} has no field {unknown}: expected some of {sorted(known)}')
    return config_type(classes=classes, **values)


def values_of(config: Config) -> dict[str, Any]:
    """A configuration as a card stores it: the family, and each field that differs from its default.

    `config_of` reverses it. So never change a default: the default of a new option is the old behavior.
    """
    family = next(name for name, (kind, _) in FAMILIES.items() if isinstance(config, kind))
    default = asdict(type(config)(classes=config.classes))
    changed = {key: value for key, value in asdict(config).items() if value != default[key]}
    return {'family': family, **changed}


def name_of(config: Config) -> str:
    """The registry's name of a network, or `<family>_custom` if it has none."""
    for name, entry in NETWORKS.items():
        if replace(config, classes=entry.config.classes) == entry.config:
            return name
    return f'{values_of(config)["family"]}_custom'
