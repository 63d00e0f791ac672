# SPDX-License-Identifier: Apache-2.0
"""Costs against other counters, the paper's figures and formulas, and each other."""

import json
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip('torch')

from shufflenet_ros.cli.main import main  # noqa: E402
from shufflenet_ros.zoo.baselines import ALEXNET_PX, BASELINES, AlexNet  # noqa: E402
from shufflenet_ros.zoo.comparison import Bottleneck, make_unit  # noqa: E402
from shufflenet_ros.zoo.complexity import TABLE_1, TABLE_4, compare, network, table_1, unit_macs  # noqa: E402
from shufflenet_ros.zoo.macs import count, trace  # noqa: E402
from shufflenet_ros.zoo.network_table import TABLE, table_text  # noqa: E402
from shufflenet_ros.zoo.registry import NETWORKS, build  # noqa: E402
from shufflenet_ros.zoo.shufflenet_v1 import ShuffleNetV1Config, ShuffleUnit  # noqa: E402

# Parameters, MACs of convolutions and linear layer, and the convolutions' MACs in millions; from another
# implementation and another counter, for a layer with bias.
EXACT = {
    'shufflenet_v1_x1_0_g1': (1_531_936, 143_078_976, 142.502976),
    'shufflenet_v1_x1_0_g2': (1_733_848, 140_836_512, 140.036512),
    'shufflenet_v1_x1_0_g3': (1_865_728, 137_460_672, 136.500672),
    'shufflenet_v1_x1_0_g4': (1_968_344, 134_339_776, 133.251776),
    'shufflenet_v1_x1_0_g8': (2_434_768, 138_365_952, 136.829952),
    'shufflenet_v1_x0_75_g1': (975_214, 82_542_672, 82.11),
    'shufflenet_v1_x0_75_g3': (1_238_266, 79_740_144, 79.02),
    'shufflenet_v1_x0_5_g1': (534_484, 38_517_408, 38.23),
    'shufflenet_v1_x0_5_g2': (644_320, 38_914_784, 38.515),
    'shufflenet_v1_x0_5_g3': (718_324, 37_589_856, 37.11),
    'shufflenet_v1_x0_5_g4': (778_592, 37_943_936, 37.400),
    'shufflenet_v1_x0_5_g8': (1_011_448, 40_469_760, 39.702),
    'shufflenet_v1_x0_25_g1_stem6': (209_746, 11_003_184, 10.86),
    'shufflenet_v1_x0_25_g3_stem6': (305_902, 11_009_808, 10.77),
    'shufflenet_v1_x0_25_g1': (209_908, 13_162_320, 13.018),
    'shufflenet_v1_x0_25_g3': (306_124, 13_300_656, 13.061),
    'shufflenet_v1_x0_25_g4': (340_936, 13_019_056, 12.747),
    'shufflenet_v1_x0_25_g8': (454_504, 12_426_240, 12.042),
    'shufflenet_v1_x1_5_g3': (3_442_168, 292_443_552, 291.004),
    'shufflenet_v1_x1_5_g3_stem36': (3_443_212, 299_612_448, 298.172),
    'shufflenet_v1_x2_0_g3': (5_450_776, 524_045_184, 522.125),
    'shufflenet_v1_x2_0_g8': (6_522_232, 521_942_016, 518.870),
}
V2 = {  # torchvision's parameters, and millions of MACs
    'shufflenet_v2_x0_5': (1_366_792, 40.48), 'shufflenet_v2_x1_0': (2_278_604, 144.91),
    'shufflenet_v2_x1_5': (3_503_624, 295.76), 'shufflenet_v2_x2_0': (7_393_996, 583.25),
}
# Parameters and millions of MACs, from the same counter.
OTHERS = {
    'AlexNet': (60_965_224, 724.4), 'AlexNet, one tower': (61_100_840, 714.2),
    'VGG-16': (138_357_544, 15470), 'GoogLeNet': (6_624_904, 1498),
    'SqueezeNet 1.0': (1_248_424, 818.9), 'SqueezeNet 1.1': (1_235_496, 349.2),
    'MobileNet 1.0': (4_231_976, 568.7), 'MobileNet 0.75': (2_585_560, 325.4),
    'MobileNet 0.5': (1_331_592, 149.5), 'MobileNet 0.25': (470_072, 41.0),
    'MobileNetV2 1.0': (3_503_872, 300.8), 'ResNet-50': (25_557_032, 4089),
    'ResNeXt-50 32x4d': (25_028_904, 4230),
}


@pytest.fixture(scope='module')
def rows():
    return {row['name']: row for row in json.loads(TABLE.read_text())['networks']}


def test_networks_json_is_what_the_counter_writes():
    assert TABLE.read_text() == table_text(), 'run: python -m shufflenet_ros.zoo.network_table'


@pytest.mark.parametrize('name', EXACT)
def test_exact_integers(name, rows):
    params, macs, conv_millions = EXACT[name]
    assert (rows[name]['params'], rows[name]['macs']) == (params, macs)
    assert rows[name]['conv_macs'] / 1e6 == pytest.approx(conv_millions, abs=0.0051)


@pytest.mark.parametrize('name', V2)
def test_v2_is_as_large_as_torchvisions(name, rows):
    assert (rows[name]['params'], round(rows[name]['macs'] / 1e6, 2)) == V2[name]


def test_an_empty_batch_counts_what_a_real_run_counts():
    model = build(NETWORKS['shufflenet_v1_x0_25_g3'].config)
    empty, real = (trace(model, torch.zeros(batch, 3, 64, 96)) for batch in (0, 2))
    assert empty == real


@pytest.mark.parametrize('name', NETWORKS)
def test_units_add_up_to_the_network(name, rows):
    first, *_, last, total = network(name).records
    row = rows[name]
    assert (total['params'], total['macs']) == (row['params'], row['macs'])
    assert total['linear'] == row['macs'] - row['conv_macs']
    assert (first['part'], last['part'], last['output']) == ('stem', 'fc', (1000,))


def test_kinds_of_a_unit():
    unit = network('shufflenet_v1_x1_0_g3').records[2]
    assert unit == {
        'network': 'shufflenet_v1_x1_0_g3', 'part': 'stage2.1', 'output': (240, 28, 28),
        'params': 2 * 240 * 60 // 3 + 9 * 60 + 2 * (60 + 60 + 240), 'macs': 7_949_760,
        'pointwise': 784 * 2 * 240 * 60 // 3, 'depthwise': 784 * 9 * 60, 'other_conv': 0, 'linear': 0}


def test_formulas_of_the_paper_per_pixel():
    assert unit_macs(240, 60, 3, 1, 1) == {'ResNet': 61_200, 'ResNeXt': 39_600, 'ShuffleNet': 10_140}
    assert unit_macs(240, 60, 3, 28, 28)['ShuffleNet'] == 7_949_760


def counted(unit: torch.nn.Module, c: int, h: int, w: int) -> int:
    return sum(layer.macs for layer in trace(unit, torch.zeros(0, c, h, w)))


@settings(max_examples=30)
@given(g=st.sampled_from([1, 2, 3, 4, 8]), a=st.integers(1, 12), b=st.integers(1, 6), h=st.integers(1, 30),
       w=st.integers(1, 30))
def test_formulas_equal_the_counter_on_real_units(g, a, b, h, w):
    c, m = 4 * g * a, g * b
    assert counted(Bottleneck(c, c, m, g), c, h, w) == unit_macs(c, m, g, h, w)['ResNeXt']
    assert counted(Bottleneck(c, c, m), c, h, w) == unit_macs(c, m, g, h, w)['ResNet']
    unit = ShuffleUnit(c, c, 1, ShuffleNetV1Config(g), grouped_first=True)
    assert counted(unit, c, h, w) == unit_macs(c, c // 4, g, h, w)['ShuffleNet']
    assert counted(make_unit('vgg', c, c, 1), c, h, w) == h * w * 18 * c * c


def test_the_formula_does_not_apply_to_the_first_unit():
    first = ShuffleUnit(24, 240, 2, ShuffleNetV1Config(3), grouped_first=False)
    assert counted(first, 24, 56, 56) != unit_macs(240, 60, 3, 28, 28)['ShuffleNet']


def test_alexnet_as_published():
    cost = count(AlexNet(), (ALEXNET_PX, ALEXNET_PX))
    assert (cost.params, cost.macs, cost.conv_macs) == (60_965_224, 724_406_816, 665_784_864)


def test_table_1_counts_the_convolutions():
    table = table_1()
    assert [round(record['conv_macs'] / 1e6) for record in table.records] == list(TABLE_1.values())
    text = [' '.join(row) for row in table.cells]
    assert 'Conv1 112x112 3x3 2 1 24 24 24 24 24' in text
    assert any(line.startswith('MaxPool 56x56') for line in text)
    assert 'Stage3 14x14  2, then 1 1 + 7 288 400 480 544 768' in text
    assert 'Table 1 counted convolutions alone' in table.notes[0] and 'convolutions and FC' in table.notes[1]


def test_other_peoples_networks():
    for module in ('pytorchcv', 'googlenet_pytorch'):
        pytest.importorskip(module)
    records = {record['network']: record for record in compare().records}
    for name, (params, millions) in OTHERS.items():
        digits = 0 if millions > 1000 else 1
        assert records[name]['params'] == params, name
        assert round(records[name]['macs'] / 1e6, digits) == millions, name
    assert {baseline.name for baseline in BASELINES} == set(OTHERS)
    assert records['AlexNet']['macs_ratio'] == 724_406_816 / 37_589_856
    for record in records.values():  # the paper's millions are ours within 2 %
        if record['paper_mmacs']:
            assert record['macs'] / 1e6 == pytest.approx(record['paper_mmacs'], rel=0.02), record


def test_networks_without_their_library_are_left_out(monkeypatch, capsys):
    for baseline in BASELINES[1:]:
        monkeypatch.setitem(sys.modules, baseline.module, None)
    assert main(['complexity', '--compare', '--json']) == 0
    done = capsys.readouterr()
    names = [json.loads(line)['network'] for line in done.out.splitlines()]
    assert 'AlexNet' in names and 'shufflenet_v1_x0_5_g3' in names and 'VGG-16' not in names
    assert done.err.count('\n') == 1 and 'VGG-16' in done.err
    assert 'pip install --no-deps -r scripts/requirements/compare.txt' in done.err


@pytest.mark.parametrize('argv, lines', [
    ([], 5), (['--units'], sum(map(len, TABLE_4.values()))),
    (['--formulas', '240', '60', '3', '28', '28'], 3),
    (['--network', 'resnext_like_13m', '--px', '64', '--classes', '10'], 19),
])
def test_the_verb_prints_text_and_json(argv, lines, capsys):
    assert main(['complexity', *argv]) == 0
    text = capsys.readouterr().out
    assert main(['complexity', *argv, '--json']) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(records) == lines
    for record in records:
        assert f'{record["macs"]:,}' in text


def test_size_and_classes_of_a_network():
    small, large = (network('shufflenet_v1_x0_5_g3', px, 10).records[-1] for px in (64, 128))
    assert small['params'] == large['params'] == 718_324 - 990 * 481
    assert large['macs'] - 4800 == 4 * (small['macs'] - 4800)


@pytest.mark.parametrize('argv, complaint', [
    (['--px', '64'], 'expected --network NAME'),
    (['--network', 'resnet_like_38m', '--px', '5'], 'expected 32 to'),
    (['--network', 'resnet_like_38m', '--classes', '0'], 'expected at least 1'),
    (['--network', 'resnet_like_39m'], "unknown network 'resnet_like_39m'"),
    (['--formulas', '240', '60', '7', '1', '1'], 'expected channels that g groups can share'),
    (['--formulas', '240', '61', '3', '1', '1'], 'm=61, g=3: expected channels'),
    (['--formulas', '241', '60', '3', '1', '1'], 'c=241, g=3: expected channels'),
    (['--formulas', '240', '60', '0', '1', '1'], 'expected channels that g groups can share'),
    (['--formulas', '240', '60', '3', '0', '1'], 'h=0: expected at least 1'),
])
def test_bad_arguments_are_rejected(argv, complaint, capsys):
    assert main(['complexity', *argv]) == 2
    assert complaint in capsys.readouterr().err
