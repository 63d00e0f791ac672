# SPDX-License-Identifier: Apache-2.0
"""Metadata written into an ONNX file: the onnx package reads it, and no other byte changes."""

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx_models import CARD_KEY, classifier

from shufflenet_ros.bundles.errors import ModelError
from shufflenet_ros.bundles.onnx_file import read_summary
from shufflenet_ros.bundles.onnx_write import with_metadata

TEXTS = st.text(st.characters(exclude_categories=['Cs']), max_size=300)


def entry(data: bytes, key: str) -> bytes:
    """The bytes of an entry's field, found by the onnx package."""
    part = onnx.ModelProto()
    part.metadata_props.extend(e for e in onnx.load_from_string(data).metadata_props if e.key == key)
    return part.SerializeToString()


@given(TEXTS, TEXTS, TEXTS)
def test_the_new_string_is_read_and_every_other_byte_stays(before: str, value: str, other: str) -> None:
    proto = classifier()
    for key, text in (('first', before), (CARD_KEY, before), ('last', other)):
        proto.metadata_props.add(key=key, value=text)
    old = proto.SerializeToString()
    new = with_metadata(old, CARD_KEY, value)
    assert {e.key: e.value for e in onnx.load_from_string(new).metadata_props} == {
        'first': before, CARD_KEY: value, 'last': other}
    assert new == old.replace(entry(old, CARD_KEY), entry(new, CARD_KEY))
    assert read_summary(new).graph_sha256 == read_summary(old).graph_sha256
    assert with_metadata(new, CARD_KEY, before) == old


def test_a_first_entry_goes_to_the_end_and_one_of_two_stays() -> None:
    old = classifier().SerializeToString()
    new = with_metadata(old, CARD_KEY, 'größe' * 1000)
    assert new.startswith(old) and read_summary(new).metadata == {CARD_KEY: 'größe' * 1000}
    proto = classifier()
    for value in 'ab':
        proto.metadata_props.add(key=CARD_KEY, value=value)
    once = onnx.load_from_string(with_metadata(proto.SerializeToString(), CARD_KEY, 'c')).metadata_props
    assert [(e.key, e.value) for e in once] == [(CARD_KEY, 'c')]


@given(st.data())
def test_damaged_files_are_rejected_or_edited(data: st.DataObject) -> None:
    damaged = bytearray(with_metadata(classifier().SerializeToString(), CARD_KEY, 'x'))
    for _ in range(data.draw(st.integers(1, 5))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    damaged = damaged[:data.draw(st.integers(0, len(damaged)))]
    try:
        edited = with_metadata(bytes(damaged), CARD_KEY, 'y')
    except ModelError as error:
        assert 'expected an ONNX model' in str(error)
        return
    assert b'y' in edited
    try:
        facts = read_summary(bytes(damaged))
    except ModelError:
        return
    assert read_summary(edited).metadata == {**facts.metadata, CARD_KEY: 'y'}
    assert read_summary(edited).graph_sha256 == facts.graph_sha256


@pytest.mark.parametrize('data', [b'\x3a\x7f', b'\x0b', b'\x08' + b'\xff' * 20])
def test_other_bytes_are_rejected(data: bytes) -> None:
    with pytest.raises(ModelError, match='expected an ONNX model'):
        with_metadata(data, CARD_KEY, 'y')
