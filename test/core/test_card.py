# SPDX-License-Identifier: Apache-2.0
"""Cards: what is read, what is rejected, and that errors name the field."""

import copy
import dataclasses
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shufflenet_ros.core.card import MAX_CARD_BYTES, CardError, Golden, Variant, parse_card

FULL: dict[str, Any] = {
    'schema': 1, 'name': 'tiny', 'network': 'shufflenet_v1_x0_5_g3', 'labels': ['cat', 'dog', 'größe'],
    'input': {
        'layout': 'NCHW', 'dtype': 'float32', 'size': [64, 96], 'color': 'rgb', 'scale': 0.1,
        'mean': [0.1, 0.2, 0.3], 'std': [1, 2, 3.5], 'crop': 0.875, 'interpolation': 'area'},
    'outputs': {'logits': 'logits', 'embedding': 'embedding'},
    'embedding': {'dim': 240, 'layer': 'pool'},
    'training': {'data': 'x', 'terms': 'y', 'recipe': 'z'},
    'metrics': {'top1': 0.4}, 'license': 'CC0', 'source': 'here',
    'golden': {'logits': [1, 2.5], 'tolerance': 0.01},
    'variants': [{'file': 'a.onnx', 'sha256': '0' * 64, 'precision': 'int8', 'target': 'arm'}],
    'network_config': {'family': 'shufflenet_v1', 'width': 0.5},
    'cost': {'params': 718_324, 'macs': 37_589_856},
}
LEAST: dict[str, Any] = {
    'schema': 1, 'name': 'n', 'network': 'm', 'labels': ['a'], 'outputs': {'logits': 'out'},
    'input': {'layout': 'NHWC', 'dtype': 'uint8', 'size': [1, 8192], 'color': 'bgr'},
}
NOTHING = object()


def changed(path: str, value: Any) -> str:
    """FULL as JSON with one field set, or taken out."""
    card = copy.deepcopy(FULL)
    *parents, last = path.split('.')
    section = card
    for key in parents:
        section = section[key]
    if value is NOTHING:
        del section[last]
    else:
        section[last] = value
    return json.dumps(card)


def test_reads_every_field() -> None:
    card = parse_card(json.dumps(FULL))
    assert card.labels == ('cat', 'dog', 'größe') and card.input.size == (64, 96)
    assert card.input.shape == (1, 3, 64, 96) and card.input.std == (1.0, 2.0, 3.5)
    assert card.golden == Golden((1.0, 2.5), 0.01)
    assert card.variants == (Variant('a.onnx', '0' * 64, 'int8', 'arm', 'onnxruntime'),)
    assert (card.variants[0].graph_sha256, card.variants[0].calibration) == ('', '')
    assert card.outputs == FULL['outputs'] and card.embedding == FULL['embedding']
    assert (card.license, card.source) == ('CC0', 'here')
    assert card.network_config == FULL['network_config'] and card.cost == FULL['cost']


def test_a_variant_has_the_hash_of_its_graph_and_its_calibration() -> None:
    reported = {'backend': 'native', 'graph_sha256': 'a' * 64, 'calibration': 'set (train): 256 images'}
    card = parse_card(changed('variants', [FULL['variants'][0] | reported]))
    assert card.variants == (Variant('a.onnx', '0' * 64, 'int8', 'arm', **reported),)
    assert parse_card(card.to_json()) == card
    with pytest.raises(CardError, match=r'variants\[0\].calibration'):
        parse_card(changed('variants', [FULL['variants'][0] | {'calibration': 'two\nlines'}]))


def test_optional_fields_have_defaults() -> None:
    card = parse_card(json.dumps(LEAST))
    assert card.input.shape == (1, 1, 8192, 3) and card.input.crop == 1.0 and card.input.scale == 1.0
    assert card.input.interpolation == 'bilinear' and card.golden is None and card.variants == ()


@pytest.mark.parametrize('values', [FULL, LEAST])
def test_cards_survive_a_round_trip(values: dict[str, Any]) -> None:
    card = parse_card(json.dumps(values))
    assert parse_card(card.to_json()) == card
    assert '\n' not in card.to_json()
    assert parse_card(card.to_json().encode()) == card


@pytest.mark.parametrize('path', [
    'name', 'network', 'labels', 'input', 'outputs', 'input.layout', 'input.dtype', 'input.size',
    'input.color', 'outputs.logits', 'embedding.dim', 'embedding.layer', 'golden.logits',
])
def test_a_missing_field_is_reported(path: str) -> None:
    with pytest.raises(CardError, match=rf'card field {path}.*required'):
        parse_card(changed(path, NOTHING))


@pytest.mark.parametrize('path', [
    'surprise', 'input.channels', 'outputs.boxes', 'embedding.size', 'golden.seed', 'cost.flops',
])
def test_an_unknown_field_is_reported(path: str) -> None:
    with pytest.raises(CardError, match=rf'card field {path}.*no such field'):
        parse_card(changed(path, 1))


def test_a_newer_schema_is_reported_before_unknown_fields() -> None:
    with pytest.raises(CardError, match='schema: got 2, expected 1; a newer card needs a newer'):
        parse_card(json.dumps({'schema': 2, 'surprise': 1}))


NAN, INF = float('nan'), float('inf')
BAD_VALUES: dict[str, list[Any]] = {
    'schema': [2, '1', None, 1.5, True, 1.0, NOTHING], 'name': ['', 7, None], 'network': ['', []],
    'labels': [[], 'cat', {}, None], 'input': [[], None], 'outputs': ['logits', None],
    'input.layout': ['CHW', None, ['NHWC']], 'input.dtype': ['float16'], 'input.color': ['RGB'],
    'input.interpolation': ['lanczos', {}],
    'input.size': [[224], [224, 0], [224, 8193], [224.0, 224], [True, 224], 224, '64', [1, 2, 3]],
    'input.scale': [0, -1, '1', True, 1e9, None, NAN, INF],
    'input.mean': [[1, 2], 'abc', [1, 2, None], None, [1, 2, NAN]],
    'input.std': [[1, 0, 1], [1, -1, 1], [1, 1, INF], 1], 'input.crop': [0, 1.01, 'all', None],
    'outputs.logits': [''], 'outputs.embedding': [3],
    'embedding': [[], None, {}], 'embedding.dim': [0, 240.0, '240', True], 'embedding.layer': ['', 5],
    'training': [[], None, {'terms': 'a\nb'}], 'metrics': ['good', {'top1': INF}],
    'golden': [[]], 'golden.logits': [[], 'a', ['a'], [NAN], [True]],
    'golden.tolerance': [-1, 2, 0.31, 1.0, True, NAN],
    'variants': [{}, [1], None, [{'file': 'a'}],
                 [{'file': 'a', 'sha256': 'b', 'precision': 'c', 'url': 'd'}]],
    'license': [{}, None, '\x1b[2J'], 'source': [3], 'network_config': ['v1', None, {'width': NAN}],
    'cost': [[]], 'cost.params': [0], 'cost.macs': [1.5, True],
}


@pytest.mark.parametrize(('path', 'value'), [(path, bad) for path in BAD_VALUES for bad in BAD_VALUES[path]])
def test_a_bad_value_is_reported(path: str, value: Any) -> None:
    with pytest.raises(CardError) as caught:
        parse_card(changed(path, value))
    assert path.split('.')[-1] in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(('field', 'value'), [
    ('file', ''), ('file', 5), ('sha256', None), ('precision', []), ('target', 7), ('backend', ['native']),
])
def test_a_bad_variant_is_reported_with_its_index(field: str, value: Any) -> None:
    good = FULL['variants'][0]
    with pytest.raises(CardError, match=rf'variants\[1\]\.{field}'):
        parse_card(changed('variants', [good, good | {field: value}]))


@pytest.mark.parametrize(('at', 'value'), [
    (1, 'cat'), (2, ''), (2, None), (0, 5), (1, 'a\x85'), (1, '\u202egod'), (0, 'cat\u2069'), (2, '\ud800')])
def test_a_bad_label_is_reported_with_its_index(at: int, value: Any) -> None:
    labels = list(FULL['labels'])
    labels[at] = value
    with pytest.raises(CardError, match=rf'labels\[{at}\]'):
        parse_card(changed('labels', labels))


@pytest.mark.parametrize(('text', 'cause'), [
    (b'\xff\xfe', 'not JSON'), ('[' * 100_000, 'nested objects and lists'), ('null', 'an object'),
    ('[]', 'an object'), ('7', 'an object'), ('"card"', 'an object'), (' ' * (MAX_CARD_BYTES + 1), 'at most'),
    (json.dumps(LEAST)[:-1] + ', "name": "other"}', "'name' is in one object twice"),
])
def test_data_that_is_no_card_is_rejected(text: str | bytes, cause: str) -> None:
    with pytest.raises(CardError, match=cause):
        parse_card(text)


@pytest.mark.parametrize('change', [
    {'labels': ('a\n',)}, {'metrics': {'top1': float('nan')}}, {'golden': Golden((1.0,), 0.5)}, {'name': ''},
])
def test_an_invalid_card_is_not_written(change: dict[str, Any]) -> None:
    with pytest.raises(CardError):
        dataclasses.replace(parse_card(json.dumps(LEAST)), **change).to_json()


def test_labels_of_any_script_are_kept() -> None:
    labels = ['Pekinès', 'Münsterländer', 'كلب', 'כלב', '犬', '개', 'chien d’arrêt', '🐕', "crane's"]
    card = parse_card(changed('labels', labels))
    assert list(card.labels) == labels and list(parse_card(card.to_json()).labels) == labels


def test_a_field_name_of_any_length_makes_a_short_message() -> None:
    with pytest.raises(CardError) as rejected:
        parse_card(json.dumps(LEAST | {'x' * 10_000: 1}))
    assert len(str(rejected.value)) < 400


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6)


@given(st.sampled_from([
    *FULL, *(f'input.{key}' for key in FULL['input']), 'golden.logits', 'golden.tolerance', 'outputs.logits',
    'embedding.dim']), json_values)
def test_no_value_raises_anything_but_card_error(path: str, value: Any) -> None:
    with suppress(CardError):
        parse_card(changed(path, value))
