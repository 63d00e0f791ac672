# SPDX-License-Identifier: Apache-2.0
"""A training recipe: every choice of a run, read from a YAML file."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from shufflenet_ros.core.fields import FieldError, choice, integer, invalid, number, section
from shufflenet_ros.core.strict_yaml import read_yaml
from shufflenet_ros.zoo.errors import ZooError
from shufflenet_ros.zoo.registry import Config, config_of

RECIPES = Path(__file__).parent / 'recipes'


@dataclass(frozen=True)
class Recipe:
    """How one model is trained.

    Attributes:
        name: of the exported bundle.
        network: a name of the registry, or fields of a configuration (`registry.config_of`); '' for the
            network of the initial weights.
        px: side of the network's input in validation, deployment and the last epochs.
        epochs, batch, learning_rate, warmup_epochs, weight_decay, momentum, label_smoothing: SGD with
            Nesterov momentum. The rate rises linearly over the warm-up and falls linearly to 0. BN and
            biases have no weight decay.
        ema: decay per step of the averaged weights that are validated and exported; 0 for none.
        mixup, cutmix: alpha of the Beta distribution for the share of the original image; 0 for none. If both
            are set, each batch gets one of them at random.
        crop_scale: range of the random crop's share of the image's area.
        rotate90: also rotate images by quarter turns, for cameras that look straight down.
        color_jitter: strength of the brightness and contrast jitter.
        store_px: side of the stored training images, larger than px for sharper crops; 0 for px.
        early_px, early_share: side of the input during the first share of the epochs.
        frozen: what is not trained: '' for nothing, `norms` (the statistics of BN), or `backbone` (all but
            the linear layer).
        teacher, teacher_px: network whose logits are learned beside the labels, and the side of its input.
        distill_weight, temperature: weight of the teacher in the loss, and softening of its logits (Hinton
            et al. 2015). A temperature of 1 suits a fitted head, which is calibrated.
        seed: of weights, order and augmentation.
        data, terms: name and terms of the dataset, for the card.
    """

    name: str
    px: int
    epochs: int
    network: str | dict[str, Any] = ''
    batch: int = 128
    learning_rate: float = 0.3
    warmup_epochs: float = 1.0
    weight_decay: float = 4e-5
    momentum: float = 0.9
    label_smoothing: float = 0.0
    ema: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    crop_scale: tuple[float, float] = (0.35, 1.0)
    rotate90: bool = False
    color_jitter: float = 0.2
    store_px: int = 0
    early_px: int = 0
    early_share: float = 0.0
    frozen: str = ''
    teacher: str = ''
    teacher_px: int = 160
    distill_weight: float = 0.5
    temperature: float = 1.0
    seed: int = 0
    data: str = ''
    terms: str = ''

    def config(self, classes: int) -> Config:
        """The network for that many classes."""
        return config_of(self.network, classes)

    def px_at(self, epoch: int) -> int:
        """Side of the training input in an epoch, counted from 0."""
        return self.early_px if epoch < self.early_share * self.epochs else self.px

    def rate_at(self, epoch: float) -> float:
        """Learning rate at a point of the run, in epochs from 0."""
        if epoch < self.warmup_epochs:
            return self.learning_rate * min(1.0, (epoch + 0.01) / self.warmup_epochs)
        return self.learning_rate * max(0.0, (self.epochs - epoch) / (self.epochs - self.warmup_epochs))


# The smallest and the largest value of each number.
_RANGES: Mapping[str, tuple[Any, Any]] = {
    'px': (16, 1024), 'store_px': (0, 2048), 'early_px': (0, 1024), 'teacher_px': (64, 512),
    'epochs': (1, 100_000), 'batch': (1, 1 << 20), 'learning_rate': (0, 100), 'warmup_epochs': (0, 1000),
    'weight_decay': (0, 1), 'momentum': (0, 0.9999), 'label_smoothing': (0, 0.9), 'ema': (0, 0.99999),
    'mixup': (0, 100), 'cutmix': (0, 100), 'crop_scale': (0.01, 1), 'color_jitter': (0, 1),
    'early_share': (0, 1), 'distill_weight': (0, 1), 'temperature': (0.1, 100), 'seed': (0, 2**31 - 1),
}
_FROZEN = ('', 'norms', 'backbone')
_TYPES = {field.name: field.type for field in fields(Recipe)}
# Field or type -> the accepted types, and what an error message expects.
_EXPECTED: Mapping[Any, tuple[Any, str]] = {
    bool: (bool, 'true or false'), str: (str, 'a string'),
    'network': ((str, dict), 'a name or fields such as {groups: 3, width: 0.5}'),
}
_REQUIRED = ('name', 'px', 'epochs')


def make_recipe(values: Any, where: str) -> Recipe:
    """A recipe from the plain values of a YAML file, JSON or a command line.

    Args:
        where: the file, for the error.

    Raises:
        ZooError: a field that is unknown, missing, of another type or out of range.
    """
    try:
        section(values, '', _REQUIRED, [name for name in _TYPES if name not in _REQUIRED])
        recipe = Recipe(**{name: _value(name, value) for name, value in values.items()})
        _check_combination(recipe)
    except FieldError as error:
        raise ZooError(f'{where}: {error}') from error
    return recipe


def _check_combination(recipe: Recipe) -> None:
    least = _RANGES['px'][0]
    if recipe.early_share > 0 and recipe.early_px == 0:
        raise invalid('early_share', recipe.early_share, '0 without early_px; add that')
    if 0 < recipe.early_px < least:
        raise invalid('early_px', recipe.early_px, f'0 for none, or at least {least}')
    if recipe.warmup_epochs >= recipe.epochs:
        raise invalid('warmup_epochs', recipe.warmup_epochs, f'less than epochs ({recipe.epochs})')


def _value(name: str, value: Any) -> Any:
    if name == 'crop_scale':
        if not isinstance(value, (list, tuple)) or len(value) != 2:
            raise invalid(name, value, 'two numbers such as [0.35, 1.0]')
        low, high = (_number(name, item) for item in value)
        if low > high:
            raise invalid(name, value, 'the smaller number first')
        return low, high
    if name in _RANGES:
        return _number(name, value)
    if name == 'frozen':
        return choice(value, name, _FROZEN)
    if name == 'name' and not _is_file_name(value):
        raise invalid(name, value, 'a string that can be a file name, without slashes or a leading dot')
    types, expected = _EXPECTED.get(name) or _EXPECTED[_TYPES[name]]
    if not isinstance(value, types):
        raise invalid(name, value, expected)
    return value


def _is_file_name(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable() and bool(re.fullmatch(r'[^./\\][^/\\]*', value))


def _number(name: str, value: Any) -> float:
    check = integer if _TYPES[name] is int else number
    try:
        return check(value, name, *_RANGES[name])
    except FieldError as error:
        if isinstance(value, str) and re.fullmatch(r'[+-]?\d+(\.\d*)?e[+-]?\d+', value, re.IGNORECASE):
            # YAML 1.1 reads 4e-5 as a string: its numbers need the dot.
            raise FieldError(f'{error}; write {float(value)!r} with a dot, as in 4.0e-5') from error
        raise


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe by the name of a shipped one, or by path.

    Args:
        overrides: `FIELD=VALUE`, the value as in the file.

    Raises:
        ZooError: an unknown recipe, or a field that cannot be used.
    """
    path = Path(name_or_path)
    if not path.suffix:
        path = RECIPES / f'{name_or_path}.yaml'
    if not path.is_file():
        known = ', '.join(sorted(p.stem for p in RECIPES.glob('*.yaml')))
        raise ZooError(f'unknown recipe {name_or_path!r}: expected a YAML file or one of {known}')
    given = dict(map(_override, overrides))
    try:
        values = read_yaml(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ZooError(f'{path}: is not valid YAML: {error}') from error
    return make_recipe(values | given if isinstance(values, dict) else values, str(path))


def _override(item: str) -> tuple[str, Any]:
    name, equals, value = item.partition('=')
    if not equals:
        raise ZooError(f'--set {item}: expected FIELD=VALUE, such as epochs=5')
    try:
        parsed = read_yaml(value)
    except ValueError as error:
        raise ZooError(f'--set {item}: is not valid YAML ({error}); expected a value as in a recipe, such as '
                       "'crop_scale=[0.5, 1]'") from error
    return name.strip(), value if parsed is None or name == 'name' else parsed
