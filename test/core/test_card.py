# SPDX-License-Identifier: Apache-2.0
"""Cards: what is read, what is rejected, and that errors name the field."""

from __future__ import annotations

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


def test_a_variant_tells_its_graph_and_what_its_ranges_were_taken_from() -> None:
    reported = {'backend': 'native', 'graph_sha256': 'a' * 64, 'calibration': 'set (train): 256 images'}
    card = parse_card(changed('variants', [FULL['variants'][0] | reported]))
    assert card.variants == (Variant('a.onnx', '0' * 64, 'int8', 'arm', **reported),)
    assert parse_card(card.to_json()) == card
    with pytest.raises(CardError, match=r'variants\[0\].calibration'):
        parse_card(changed('variants', [FULL['variants'][0] | {'calibration': 'two\nlines'}]))


def test_what_may_be_missing_has_a_default() -> None:
    card = parse_card(json.dumps(LEAST))
    assert card.input.shape == (1, 1, 8192, 3) and card.input.crop == 1.0 and card.input.scale == 1.0
    assert card.input.interpolation == 'bilinear' and card.golden is None and card.variants == ()


@pytest.mark.parametrize('values', [FULL, LEAST])
def test_written_and_read_again_it_is_the_same(values: dict[str, Any]) -> None:
    card = parse_card(json.dumps(values))
    assert parse_card(card.to_json()) == card
    assert '\n' not in card.to_json()
    assert parse_card(card.to_json().encode()) == card


@pytest.mark.parametrize('path', [
    'schema', 'name', 'network', 'labels', 'input', 'outputs', 'input.layout', 'input.dtype', 'input.size',
    'input.color', 'outputs.logits', 'embedding.dim', 'embedding.layer', 'golden.logits',
])
def test_a_missing_field_is_reported(path: str) -> None:
    with pytest.raises(CardError, match=rf'card field (card\.)?{path}.*required'):
        parse_card(changed(path, NOTHING))


@pytest.mark.parametrize('path', [
    'surprise', 'input.channels', 'outputs.boxes', 'embedding.size', 'golden.seed', 'cost.flops',
])
def test_an_unknown_field_is_reported(path: str) -> None:
    with pytest.raises(CardError, match=rf'card field (card\.)?{path}.*no such field'):
        parse_card(changed(path, 1))


@pytest.mark.parametrize(('path', 'value'), [
    ('schema', 2), ('schema', '1'), ('schema', None), ('schema', 1.5), ('schema', True), ('schema', 1.0),
    ('name', ''), ('name', 7), ('name', None), ('network', ''), ('network', []),
    ('labels', []), ('labels', 'cat'), ('labels', {}), ('labels', None),
    ('input', []), ('input', None), ('outputs', 'logits'), ('outputs', None),
    ('input.layout', 'CHW'), ('input.layout', None), ('input.layout', ['NHWC']), ('input.dtype', 'float16'),
    ('input.color', 'RGB'), ('input.interpolation', 'lanczos'), ('input.interpolation', {}),
    ('input.size', [224]), ('input.size', [224, 0]), ('input.size', [224, 8193]),
    ('input.size', [224.0, 224]),
    ('input.size', [True, 224]), ('input.size', 224), ('input.size', '64'), ('input.size', [1, 2, 3]),
    ('input.scale', 0), ('input.scale', -1), ('input.scale', '1'), ('input.scale', True),
    ('input.scale', 1e9),
    ('input.scale', None), ('input.scale', float('nan')), ('input.scale', float('inf')),
    ('input.mean', [1, 2]), ('input.mean', 'abc'), ('input.mean', [1, 2, None]), ('input.mean', None),
    ('input.mean', [1, 2, float('nan')]), ('input.std', [1, 0, 1]), ('input.std', [1, -1, 1]),
    ('input.std', [1, 1, float('inf')]), ('input.std', 1),
    ('input.crop', 0), ('input.crop', 1.01), ('input.crop', 'all'), ('input.crop', None),
    ('outputs.logits', ''), ('outputs.embedding', 3),
    ('embedding', []), ('embedding', None), ('embedding', {}), ('training', []), ('metrics', 'good'),
    ('training', None), ('golden', []), ('golden.logits', []), ('golden.logits', 'a'),
    ('golden.logits', ['a']),
    ('golden.logits', [float('nan')]), ('golden.tolerance', -1), ('golden.tolerance', 2),
    ('golden.tolerance', 0.31), ('golden.tolerance', 1.0), ('golden.tolerance', True),
    ('golden.logits', [True]),
    ('golden.tolerance', float('nan')),
    ('variants', {}), ('variants', [1]), ('variants', None), ('variants', [{'file': 'a'}]),
    ('variants', [{'file': 'a', 'sha256': 'b', 'precision': 'c', 'url': 'd'}]),
    ('embedding.dim', 0), ('embedding.dim', 240.0), ('embedding.dim', '240'), ('embedding.dim', True),
    ('embedding.layer', ''), ('embedding.layer', 5), ('license', {}), ('license', None), ('source', 3),
    ('network_config', 'v1'), ('network_config', None), ('cost', []), ('cost.params', 0), ('cost.macs', 1.5),
    ('cost.macs', True), ('training', {'terms': 'a\nb'}), ('license', '\x1b[2J'),
    ('metrics', {'top1': float('inf')}),
    ('network_config', {'width': float('nan')}),
])
def test_a_bad_value_is_reported(path: str, value: Any) -> None:
    with pytest.raises(CardError) as caught:
        parse_card(changed(path, value))
    assert path.split('.')[-1] in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(('field', 'value'), [
    ('file', ''), ('file', 5), ('sha256', None), ('precision', []), ('target', 7),
    ('backend', ['onnxruntime']),
])
def test_a_bad_variant_is_named_with_its_place(field: str, value: Any) -> None:
    good = FULL['variants'][0]
    with pytest.raises(CardError, match=rf'variants\[1\]\.{field}'):
        parse_card(changed('variants', [good, good | {field: value}]))


@pytest.mark.parametrize(('at', 'value'), [
    (1, 'cat'), (2, ''), (2, None), (0, 5), (1, 'a\x85'), (1, '\u202egod'), (0, 'cat\u2069'), (2, '\ud800')])
def test_a_bad_label_is_named_with_its_place(at: int, value: Any) -> None:
    labels = list(FULL['labels'])
    labels[at] = value
    with pytest.raises(CardError, match=rf'labels\[{at}\]'):
        parse_card(changed('labels', labels))


@pytest.mark.parametrize('text', ['', '{', 'null', '[]', '7', '"card"', '[' * 100_000, b'\xff\xfe', 'NaN'])
def test_what_is_not_a_card_is_rejected(text: str | bytes) -> None:
    with pytest.raises(CardError):
        parse_card(text)


@pytest.mark.parametrize('text', [
    json.dumps(LEAST)[:-1] + ', "name": "other"}',
    json.dumps(LEAST)[:-1] + ', "training": {"data": "a", "data": "b"}}',
])
def test_a_field_that_is_there_twice_is_rejected(text: str) -> None:
    with pytest.raises(CardError, match=r"'(name|data)' is in one object twice"):
        parse_card(text)


@pytest.mark.parametrize('change', [
    {'labels': ('a\n',)}, {'metrics': {'top1': float('nan')}}, {'golden': Golden((1.0,), 0.5)}, {'name': ''},
])
def test_no_card_is_written_that_cannot_be_read(change: dict[str, Any]) -> None:
    with pytest.raises(CardError):
        dataclasses.replace(parse_card(json.dumps(LEAST)), **change).to_json()


def test_labels_of_any_script_are_kept() -> None:
    labels = ['Pekinès', 'Münsterländer', 'كلب', 'כלב', '犬', '개', 'chien d’arrêt', '🐕', "crane's"]
    card = parse_card(changed('labels', labels))
    assert list(card.labels) == labels and list(parse_card(card.to_json()).labels) == labels


def test_a_card_that_is_too_deep_for_python_is_rejected() -> None:
    deep = json.dumps(LEAST)[:-1] + ', "training": ' + '{"a": ' * 900 + '1' + '}' * 901
    with pytest.raises(CardError, match='nested objects and lists'):
        parse_card(deep)


def test_a_field_name_of_any_length_makes_a_short_message() -> None:
    with pytest.raises(CardError) as rejected:
        parse_card(json.dumps(LEAST | {'x' * 10_000: 1}))
    assert len(str(rejected.value)) < 400


def test_a_huge_card_is_rejected_unread() -> None:
    with pytest.raises(CardError, match='at most'):
        parse_card(' ' * (MAX_CARD_BYTES + 1))


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
