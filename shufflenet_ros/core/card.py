# SPDX-License-Identifier: Apache-2.0
"""The card: a model's inputs and outputs, as JSON next to its ONNX file or inside it.

The node knows a model only from its card.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Literal

from shufflenet_ros.core.errors import ShuffleNetError
from shufflenet_ros.core.fields import (
    FieldError,
    Readers,
    choice,
    invalid,
    items,
    mapping,
    number,
    read_fields,
    record,
    strict_integer,
    string,
    text,
)
from shufflenet_ros.core.strict_json import read_json

SCHEMA = 1
METADATA_KEY = 'shufflenet_ros.card'
MAX_CARD_BYTES = 1 << 20
_MAX_LABELS = 100_000
_MAX_EMBEDDING = 100_000
# For golden logits. The results of 8-bit graphs differ by that much from one CPU to another. At 1.0 a model
# that outputs zeros would pass, and at 0.5 one that outputs the same for all images can.
_MAX_TOLERANCE = 0.3


class CardError(ShuffleNetError):
    """An invalid card; the message names the field, its value and what is expected."""


@dataclass(frozen=True)
class CardInput:
    """The graph's input tensor, and how to make it from an image.

    Attributes:
        layout: NHWC or NCHW, batch 1.
        dtype: uint8 (the graph normalizes) or float32 (`preprocess` does: (pixel * scale - mean) / std).
        size: (height, width) in pixels.
        color: channel order of the tensor.
        scale, mean, std: per-channel in `color` order; used with float32 only.
        crop: size of the centered window, as a fraction of the largest one that fits; 1.0 is the largest.
        interpolation: for the resize after the crop.
    """

    layout: Literal['NHWC', 'NCHW']
    dtype: Literal['uint8', 'float32']
    size: tuple[int, int]
    color: Literal['rgb', 'bgr']
    scale: float = 1.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    crop: float = 1.0
    interpolation: Literal['nearest', 'bilinear', 'bicubic', 'area'] = 'bilinear'

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The tensor's shape, batch 1."""
        h, w = self.size
        return (1, h, w, 3) if self.layout == 'NHWC' else (1, 3, h, w)


@dataclass(frozen=True)
class Golden:
    """A sample to verify a running model with.

    Attributes:
        logits: the first logits for `bundles.golden.golden_image` at the input's size.
        tolerance: allowed difference, relative to the largest logit.
    """

    logits: tuple[float, ...]
    tolerance: float = 1e-3


@dataclass(frozen=True)
class Variant:
    """Another file of the same model, for another precision, processor or backend.

    Attributes:
        graph_sha256: of the ONNX graph it was made from (`bundles.onnx_file.OnnxSummary`); '' if unknown.
        calibration: a description of the calibration images; '' if none were needed.
        golden: this file's logits for the golden image; None if only the graph's are known.
        metrics: measured on this file, such as `top1` on `images` images, and the `command` that measured it.
    """

    file: str
    sha256: str
    precision: str
    target: str = ''
    backend: str = 'onnxruntime'
    graph_sha256: str = ''
    calibration: str = ''
    golden: Golden | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Card:
    """The description of a model; docs/bundle.md explains each field.

    Attributes:
        labels: one per logit.
        outputs: names of the graph's outputs: `logits`, and `embedding` if the model has one.
        embedding: `dim` and `layer` of the embedding, if any.
        training: `data`, `terms`, `recipe`.
        network_config: the options that rebuild the network in the zoo; empty if unknown.
        cost: `params` and `macs` (multiply-adds) at the card's input size; empty if unknown.
    """

    name: str
    network: str
    labels: tuple[str, ...]
    input: CardInput
    outputs: Mapping[str, str]
    embedding: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    license: str = ''
    source: str = ''
    golden: Golden | None = None
    variants: tuple[Variant, ...] = ()
    network_config: Mapping[str, Any] = field(default_factory=dict)
    cost: Mapping[str, int] = field(default_factory=dict)
    schema: int = SCHEMA

    def to_json(self) -> str:
        """The card as one line of JSON.

        Raises:
            CardError: `parse_card` would reject it.
        """
        text = json.dumps(asdict(self), ensure_ascii=False, sort_keys=True)
        parse_card(text)
        return text


def parse_card(data: str | bytes) -> Card:
    """Read a card.

    Raises:
        CardError: larger than 1 MiB, invalid JSON (see `core.strict_json`), or a field that is unknown,
            missing or invalid.
    """
    if len(data) > MAX_CARD_BYTES:
        raise CardError(f'card of {len(data)} bytes: expected at most {MAX_CARD_BYTES}')
    try:
        values = read_json(data)
    except ValueError as error:
        raise CardError(f'card cannot be read: {error}') from error
    try:
        if isinstance(values, dict):
            _schema(values.get('schema'), 'schema')  # first, because a newer card may have other fields
        card = record(Card, values, '', _CARD)
        if 'embedding' in card.outputs:
            read_fields(card.embedding, 'embedding', _EMBEDDING, tuple(_EMBEDDING))
    except FieldError as error:
        raise CardError(f'card field {error}') from error
    return card


def _schema(value: Any, where: str) -> int:
    if type(value) is not int or value != SCHEMA:
        raise invalid(where, value, f'{SCHEMA}; a newer card needs a newer shufflenet_ros')
    return value


def _labels(value: Any, where: str) -> tuple[str, ...]:
    seen: set[str] = set()
    for i, name in enumerate(items(value, where, _MAX_LABELS)):
        if text(name, f'{where}[{i}]') in seen:
            raise invalid(f'{where}[{i}]', name, 'each name once')
        seen.add(name)
    return tuple(value)


def _size(value: Any, where: str) -> tuple[int, int]:
    is_pair = isinstance(value, list) and len(value) == 2
    if not is_pair or not all(type(side) is int and 1 <= side <= 8192 for side in value):
        raise invalid(where, value, '[height, width], each 1 to 8192 pixels')
    return value[0], value[1]


def _triple(value: Any, where: str, low: float) -> tuple[float, float, float]:
    if not isinstance(value, list) or len(value) != 3:
        raise invalid(where, value, 'three numbers, one per channel')
    a, b, c = (number(v, where, low, 1e6) for v in value)
    return a, b, c


def _logits(value: Any, where: str) -> tuple[float, ...]:
    return tuple(number(logit, where, -1e9, 1e9) for logit in items(value, where, _MAX_LABELS))


def _golden(value: Any, where: str) -> Golden | None:
    return None if value is None else record(Golden, value, where, _GOLDEN)


def _variants(value: Any, where: str) -> tuple[Variant, ...]:
    if not isinstance(value, list):
        raise invalid(where, value, 'a list')
    return tuple(record(Variant, v, f'{where}[{i}]', _VARIANT) for i, v in enumerate(value))


_INPUT: Readers = {
    'layout': partial(choice, choices=('NHWC', 'NCHW')),
    'dtype': partial(choice, choices=('uint8', 'float32')),
    'size': _size,
    'color': partial(choice, choices=('rgb', 'bgr')),
    'scale': partial(number, low=1e-9, high=1e6),
    'mean': partial(_triple, low=-1e6),
    'std': partial(_triple, low=1e-9),
    'crop': partial(number, low=0.01, high=1.0),
    'interpolation': partial(choice, choices=('nearest', 'bilinear', 'bicubic', 'area')),
}
_OUTPUTS = {'logits': text, 'embedding': text}
_EMBEDDING: Readers = {'dim': partial(strict_integer, low=1, high=_MAX_EMBEDDING), 'layer': text}
_COST = dict.fromkeys(('params', 'macs'), partial(strict_integer, low=1))
_GOLDEN: Readers = {'logits': _logits, 'tolerance': partial(number, low=0.0, high=_MAX_TOLERANCE)}
_VARIANT: Readers = {
    **dict.fromkeys(('file', 'sha256', 'precision'), text),
    **dict.fromkeys(('target', 'backend', 'graph_sha256', 'calibration'), string),
    'golden': _golden,
    'metrics': mapping,
}
_CARD: Readers = {
    'schema': _schema,
    'name': text,
    'network': text,
    'labels': _labels,
    'input': lambda value, where: record(CardInput, value, where, _INPUT),
    'outputs': lambda value, where: read_fields(value, where, _OUTPUTS, required=('logits',)),
    **dict.fromkeys(('embedding', 'training', 'metrics'), mapping),
    **dict.fromkeys(('license', 'source'), string),
    'golden': _golden,
    'variants': _variants,
    'network_config': mapping,
    'cost': lambda value, where: read_fields(value, where, _COST),
}
