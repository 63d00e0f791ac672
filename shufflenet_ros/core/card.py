# SPDX-License-Identifier: Apache-2.0
"""The card: a model's inputs and outputs, as JSON beside or inside its ONNX file.

Everything the node must know about a model comes from here, and only from here.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from shufflenet_ros.core.errors import ShuffleNetError
from shufflenet_ros.core.fields import (
    FieldError,
    choice,
    invalid,
    items,
    mapping,
    number,
    section,
    strict_integer,
    text,
)
from shufflenet_ros.core.strict_json import read_json

SCHEMA = 1
METADATA_KEY = 'shufflenet_ros.card'
MAX_CARD_BYTES = 1 << 20
MAX_LABELS = 100_000
MAX_EMBEDDING = 100_000
MAX_TOLERANCE = 0.3
"""The largest tolerance of golden logits. 8-bit graphs need that much: two CPUs differ by it. At 1.0 a model
that outputs zeros would pass, and at 0.5 one that outputs the same for all images can."""
INTERPOLATIONS = ('nearest', 'bilinear', 'bicubic', 'area')


class CardError(ShuffleNetError):
    """An invalid card; the message names the field, its value and what is expected."""


@dataclass(frozen=True)
class CardInput:
    """The graph's input tensor, and how to make it from an image.

    Attributes:
        layout: NHWC or NCHW, batch 1.
        dtype: uint8 (the graph normalizes) or float32 ((pixel * scale - mean) / std is done outside).
        size: (height, width) in pixels.
        color: channel order of the tensor.
        scale, mean, std: per-channel in `color` order; used with float32 only.
        crop: size of the centered window, as a fraction of the largest one with this aspect ratio that fits
            the image; 1.0 is the largest.
        interpolation: of the resize after the crop.
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
    """A sample that verifies a session: the image of a formula and its first logits.

    Attributes:
        logits: the model's first logits for `bundles.golden.golden_image` at the input's size.
        tolerance: allowed difference, relative to the largest of the logits.
    """

    logits: tuple[float, ...]
    tolerance: float = 1e-3


@dataclass(frozen=True)
class Variant:
    """A sibling file of the same model for another precision, processor or backend.

    Attributes:
        graph_sha256: of the ONNX graph it was made from (`bundles.onnx_file.OnnxSummary`); '' if unknown.
        calibration: a description of the calibration images; '' where none were needed.
        golden: its own logits for the golden image; None where only the graph's are known.
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
    """A model's whole description; docs/bundle.md has each field.

    Attributes:
        labels: one for each logit.
        outputs: graph output names: `logits`, and `embedding` where the model has one.
        embedding: `dim` and `layer` of the embedding; empty without one.
        training: `data`, `terms`, `recipe`.
        network_config: the options that rebuild the network in the zoo; empty if unknown.
        cost: `params` and `macs` (multiply-adds) of this model at its own input; empty if unknown.
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


def _triple(value: Any, where: str, low: float) -> tuple[float, float, float]:
    if not isinstance(value, list) or len(value) != 3:
        raise invalid(where, value, 'three numbers, one per channel')
    a, b, c = (number(v, where, low, 1e6) for v in value)
    return a, b, c


def _labels(value: Any) -> tuple[str, ...]:
    seen: set[str] = set()
    for i, name in enumerate(items(value, 'labels', MAX_LABELS)):
        if text(name, f'labels[{i}]') in seen:
            raise invalid(f'labels[{i}]', name, 'each name once')
        seen.add(name)
    return tuple(value)


def _input(value: Any) -> CardInput:
    v = section(value, 'input', ('layout', 'dtype', 'size', 'color'),
                ('scale', 'mean', 'std', 'crop', 'interpolation'))
    size = v['size']
    is_pair = isinstance(size, list) and len(size) == 2
    if not is_pair or not all(type(s) is int and 1 <= s <= 8192 for s in size):
        raise invalid('input.size', size, '[height, width], each 1 to 8192 pixels')
    return CardInput(
        layout=choice(v['layout'], 'input.layout', ('NHWC', 'NCHW')),
        dtype=choice(v['dtype'], 'input.dtype', ('uint8', 'float32')),
        size=(size[0], size[1]),
        color=choice(v['color'], 'input.color', ('rgb', 'bgr')),
        scale=number(v.get('scale', 1.0), 'input.scale', 1e-9, 1e6),
        mean=_triple(v.get('mean', [0.0, 0.0, 0.0]), 'input.mean', -1e6),
        std=_triple(v.get('std', [1.0, 1.0, 1.0]), 'input.std', 1e-9),
        crop=number(v.get('crop', 1.0), 'input.crop', 0.01, 1.0),
        interpolation=choice(v.get('interpolation', 'bilinear'), 'input.interpolation', INTERPOLATIONS),
    )


def _outputs(value: Any) -> dict[str, str]:
    v = section(value, 'outputs', ('logits',), ('embedding',))
    return {key: text(name, f'outputs.{key}') for key, name in v.items()}


def _check_embedding(value: Any) -> None:
    v = section(value, 'embedding', ('dim', 'layer'))
    strict_integer(v['dim'], 'embedding.dim', 1, MAX_EMBEDDING)
    text(v['layer'], 'embedding.layer')


def _cost(value: Any) -> dict[str, int]:
    v = section(value, 'cost', (), ('params', 'macs'))
    for key, count in v.items():
        strict_integer(count, f'cost.{key}', 1)
    return v


def _golden(value: Any, where: str = 'golden') -> Golden | None:
    if value is None:
        return None
    v = section(value, where, ('logits',), ('tolerance',))
    logits = items(v['logits'], f'{where}.logits', MAX_LABELS)
    return Golden(tuple(number(x, f'{where}.logits', -1e9, 1e9) for x in logits),
                  number(v.get('tolerance', 1e-3), f'{where}.tolerance', 0.0, MAX_TOLERANCE))


def _variant(value: Any, where: str) -> Variant:
    required, optional = ('file', 'sha256', 'precision'), ('target', 'backend', 'graph_sha256', 'calibration')
    fields = dict(section(value, where, required, (*optional, 'golden', 'metrics')))
    golden = _golden(fields.pop('golden', None), f'{where}.golden')
    metrics = mapping(fields.pop('metrics', {}), f'{where}.metrics')
    for key, x in fields.items():
        if x != '' or key in required:
            text(x, f'{where}.{key}')
    return Variant(**fields, golden=golden, metrics=metrics)


def _variants(value: Any) -> tuple[Variant, ...]:
    if not isinstance(value, list):
        raise invalid('variants', value, 'a list')
    return tuple(_variant(v, f'variants[{i}]') for i, v in enumerate(value))


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
        return _card(values)
    except FieldError as error:
        raise CardError(f'card field {error}') from error


def _card(values: Any) -> Card:
    v = section(values, '', ('schema', 'name', 'network', 'labels', 'input', 'outputs'),
                ('embedding', 'training', 'metrics', 'license', 'source', 'golden', 'variants',
                 'network_config', 'cost'))
    if type(v['schema']) is not int or v['schema'] != SCHEMA:
        raise invalid('schema', v['schema'], f'{SCHEMA}; a newer card needs a newer shufflenet_ros')
    free: dict[str, Any] = {
        key: mapping(v.get(key, {}), key) for key in ('embedding', 'training', 'metrics', 'network_config')}
    for key in ('license', 'source'):
        if not isinstance(v.get(key, ''), str):
            raise invalid(key, v[key], 'a string')
    outputs = _outputs(v['outputs'])
    if 'embedding' in outputs:
        _check_embedding(free['embedding'])
    return Card(
        name=text(v['name'], 'name'), network=text(v['network'], 'network'), labels=_labels(v['labels']),
        input=_input(v['input']), outputs=outputs, license=v.get('license', ''), source=v.get('source', ''),
        golden=_golden(v.get('golden')), variants=_variants(v.get('variants', [])),
        cost=_cost(v.get('cost', {})), **free)
