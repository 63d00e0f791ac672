"""The card: what a model expects and gives, as JSON beside or inside its ONNX file.

Everything the node must know about a model comes from here and from nowhere else.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from shufflenet_ros.core.strict_json import read_json

SCHEMA = 1
METADATA_KEY = 'shufflenet_ros.card'
MAX_CARD_BYTES = 1 << 20
MAX_EMBEDDING = 100_000
MAX_TOLERANCE = 0.3
"""Of golden logits, which 8-bit graphs need: on two CPUs their answers are as far from each other. At 1.0 a
model that answers zeros would pass, and at 0.5 one that answers all pictures alike can."""
INTERPOLATIONS = ('nearest', 'bilinear', 'bicubic', 'area')


class CardError(ValueError):
    """A card that cannot be used; the message names the field, what it says and what is expected."""


@dataclass(frozen=True)
class CardInput:
    """The tensor that the graph takes, and how a picture becomes it.

    Attributes:
        layout: NHWC or NCHW, batch 1.
        dtype: uint8 (the graph normalises) or float32 ((pixel * scale - mean) / std is done outside).
        size: (height, width) in pixels.
        color: channel order of the tensor.
        scale, mean, std: per-channel in `color` order; used with float32 only.
        crop: the centred square's side, or with another aspect ratio the largest centred window of
            that ratio, as a fraction of what fits the picture; 1.0 takes all that fits.
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
        """Of the tensor, batch 1."""
        h, w = self.size
        return (1, h, w, 3) if self.layout == 'NHWC' else (1, 3, h, w)


@dataclass(frozen=True)
class Golden:
    """A sample that proves a session: the closed-formula picture gives these first logits.

    Attributes:
        logits: the first of the model's logits for `core.golden.golden_picture` at the input's size.
        tolerance: allowed difference, relative to the largest of the logits.
    """

    logits: tuple[float, ...]
    tolerance: float = 1e-3


@dataclass(frozen=True)
class Variant:
    """A sibling file of the same model for another precision, processor or backend.

    Attributes:
        graph_sha256: of the ONNX graph it was made from (`backends.onnx_file.OnnxFacts`); '' where not told.
        calibration: in words, which pictures gave the ranges of its values; '' where none were needed.
        golden: its own logits for the golden picture; None where only the graph's are known.
        metrics: measured on this file, such as `top1` of so many `images`, and the `command` that did it.
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
        labels: one name a logit.
        outputs: graph output names: `logits`, and `embedding` where the model gives one.
        embedding: `dim` and `layer` of the embedding; empty where there is none.
        training: `data`, `terms`, `recipe`.
        network_config: the options that rebuild the network in the zoo; empty where nobody knows them.
        cost: `params` and `macs` (multiply-adds) of this very model at its own input; empty likewise.
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
        """As one line of JSON.

        Raises:
            CardError: a card that `parse_card` would not read again.
        """
        text = json.dumps(asdict(self), ensure_ascii=False, sort_keys=True)
        parse_card(text)
        return text


def _refuse(where: str, got: Any, expected: str) -> CardError:
    return CardError(f'card field {where[:100]}: got {str(got)[:80]!r}, expected {expected}')


def _section(values: Any, where: str, known: Mapping[str, bool]) -> dict[str, Any]:
    """A JSON object with only known keys (name -> required)."""
    if not isinstance(values, dict):
        raise _refuse(where, values, 'an object')
    for key in values:
        if key not in known:
            raise _refuse(f'{where}.{key}', values[key], f'no such field; known are {sorted(known)}')
    for key, required in known.items():
        if required and key not in values:
            raise _refuse(f'{where}.{key}', 'nothing', 'a value: the field is required')
    return values


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise _refuse(where, value, 'a text that is not empty')
    return value


def _choice(value: Any, where: str, choices: tuple[str, ...]) -> Any:
    if value not in choices:
        raise _refuse(where, value, f'one of {list(choices)}')
    return value


def _number(value: Any, where: str, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise _refuse(where, value, f'a number in [{low:g}, {high:g}]')
    return float(value)


def _triple(value: Any, where: str, low: float) -> tuple[float, float, float]:
    if not isinstance(value, list) or len(value) != 3:
        raise _refuse(where, value, 'three numbers, one a channel')
    a, b, c = (_number(v, where, low, 1e6) for v in value)
    return a, b, c


def _labels(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= 100_000:
        raise _refuse('labels', value, 'a list of class names, one a logit')
    seen: set[str] = set()
    for i, name in enumerate(value):
        _text(name, f'labels[{i}]')
        if name in seen:
            raise _refuse(f'labels[{i}]', name, 'each name once')
        seen.add(name)
    return tuple(value)


def _input(value: Any) -> CardInput:
    known = dict.fromkeys(('layout', 'dtype', 'size', 'color'), True)
    known |= dict.fromkeys(('scale', 'mean', 'std', 'crop', 'interpolation'), False)
    v = _section(value, 'input', known)
    size = v['size']
    is_pair = isinstance(size, list) and len(size) == 2
    if not is_pair or not all(type(s) is int and 1 <= s <= 8192 for s in size):
        raise _refuse('input.size', size, '[height, width], each 1 to 8192 pixels')
    return CardInput(
        layout=_choice(v['layout'], 'input.layout', ('NHWC', 'NCHW')),
        dtype=_choice(v['dtype'], 'input.dtype', ('uint8', 'float32')),
        size=(size[0], size[1]),
        color=_choice(v['color'], 'input.color', ('rgb', 'bgr')),
        scale=_number(v.get('scale', 1.0), 'input.scale', 1e-9, 1e6),
        mean=_triple(v.get('mean', [0.0, 0.0, 0.0]), 'input.mean', -1e6),
        std=_triple(v.get('std', [1.0, 1.0, 1.0]), 'input.std', 1e-9),
        crop=_number(v.get('crop', 1.0), 'input.crop', 0.01, 1.0),
        interpolation=_choice(v.get('interpolation', 'bilinear'), 'input.interpolation', INTERPOLATIONS),
    )


def _outputs(value: Any) -> dict[str, str]:
    v = _section(value, 'outputs', {'logits': True, 'embedding': False})
    return {key: _text(name, f'outputs.{key}') for key, name in v.items()}


def _cost(value: Any) -> dict[str, int]:
    v = _section(value, 'cost', {'params': False, 'macs': False})
    for key, number in v.items():
        if type(number) is not int or number <= 0:
            raise _refuse(f'cost.{key}', number, 'a positive integer')
    return v


def _golden(value: Any, within: str = '') -> Golden | None:
    if value is None:
        return None
    where = f'{within}.golden' if within else 'golden'
    v = _section(value, where, {'logits': True, 'tolerance': False})
    if not isinstance(v['logits'], list) or not v['logits']:
        raise _refuse(f'{where}.logits', v['logits'], 'a list of numbers')
    logits = tuple(_number(x, f'{where}.logits', -1e9, 1e9) for x in v['logits'])
    return Golden(logits, _number(v.get('tolerance', 1e-3), f'{where}.tolerance', 0.0, MAX_TOLERANCE))


def _variants(value: Any) -> tuple[Variant, ...]:
    if not isinstance(value, list):
        raise _refuse('variants', value, 'a list')
    known = dict.fromkeys(('file', 'sha256', 'precision'), True)
    texts = ('target', 'backend', 'graph_sha256', 'calibration')
    known |= dict.fromkeys((*texts, 'golden', 'metrics'), False)
    variants = []
    for i, v in enumerate(value):
        where = f'variants[{i}]'
        fields = dict(_section(v, where, known))
        golden, metrics = _golden(fields.pop('golden', None), where), fields.pop('metrics', {})
        if not isinstance(metrics, dict):
            raise _refuse(f'{where}.metrics', metrics, 'an object')
        for key, x in fields.items():
            if x != '' or known[key]:
                _text(x, f'{where}.{key}')
        variants.append(Variant(**fields, golden=golden, metrics=metrics))
    return tuple(variants)


def parse_card(text: str | bytes) -> Card:
    """Read a card.

    Raises:
        CardError: not JSON as `core.strict_json` reads it, larger than 1 MiB, or a field that is unknown,
            missing or out of range.
    """
    if len(text) > MAX_CARD_BYTES:
        raise CardError(f'card of {len(text)} bytes: expected at most {MAX_CARD_BYTES}')
    try:
        values = read_json(text)
    except ValueError as error:
        raise CardError(f'card cannot be read: {error}') from error
    known = dict.fromkeys(('schema', 'name', 'network', 'labels', 'input', 'outputs'), True)
    optional = ('embedding', 'training', 'metrics', 'license', 'source', 'golden', 'variants',
                'network_config', 'cost')
    v = _section(values, 'card', known | dict.fromkeys(optional, False))
    if type(v['schema']) is not int or v['schema'] != SCHEMA:
        raise _refuse('schema', v['schema'], f'{SCHEMA}; a newer card needs a newer shufflenet_ros')
    for key in ('embedding', 'training', 'metrics', 'network_config'):
        if not isinstance(v.get(key, {}), dict):
            raise _refuse(key, v[key], 'an object')
    for key in ('license', 'source'):
        if not isinstance(v.get(key, ''), str):
            raise _refuse(key, v[key], 'a text')
    outputs = _outputs(v['outputs'])
    if 'embedding' in outputs:
        embedding = _section(v.get('embedding', {}), 'embedding', {'dim': True, 'layer': True})
        if type(embedding['dim']) is not int or not 1 <= embedding['dim'] <= MAX_EMBEDDING:
            raise _refuse('embedding.dim', embedding['dim'], f'an integer in [1, {MAX_EMBEDDING}]')
        _text(embedding['layer'], 'embedding.layer')
    return Card(
        name=_text(v['name'], 'name'), network=_text(v['network'], 'network'), labels=_labels(v['labels']),
        input=_input(v['input']), outputs=outputs, embedding=v.get('embedding', {}),
        training=v.get('training', {}), metrics=v.get('metrics', {}), license=v.get('license', ''),
        source=v.get('source', ''), golden=_golden(v.get('golden')),
        variants=_variants(v.get('variants', [])),
        network_config=v.get('network_config', {}), cost=_cost(v.get('cost', {})),
    )
