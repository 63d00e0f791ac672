"""A training recipe: every choice of a run, read from a YAML file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from shufflenet_ros.core.strict_yaml import read_yaml
from shufflenet_ros.zoo.errors import ZooError
from shufflenet_ros.zoo.registry import Config, config_of

RECIPES = Path(__file__).parent / 'recipes'


@dataclass(frozen=True)
class Recipe:
    """How one model is trained.

    Attributes:
        name: of the bundle it makes.
        network: a name of the registry, or fields of a configuration (`registry.config_of`); '' takes the
            network that the run starts from.
        px: side of the network's input in training's end, validation and deployment.
        epochs, batch, learning_rate, warmup_epochs, weight_decay, momentum, label_smoothing: SGD with
            Nesterov momentum; the rate rises linearly over the warm-up and falls linearly to 0. No weight
            decay on BN and biases.
        ema: decay a step of the averaged weights that are validated and exported; 0 for none.
        mixup, cutmix: alpha of the Beta distribution that a batch's share is drawn from; 0 for none. With
            both, each batch draws which.
        crop_scale: range of the random crop's share of the image's area.
        turns: whether images are also turned by quarters, for cameras that look straight down.
        color: strength of the brightness and contrast jitter.
        store_px: side at which training images are kept, so that crops of them stay sharp; 0 for px.
        early_px, early_share: side of the input during the first share of the epochs.
        frozen: what stays as it started: '', `norms` (statistics of BN) or `backbone` (all but the linear
            layer).
        teacher, teacher_px: network whose answers are learned beside the labels, and the side it looks at.
        distill_weight, temperature: share of the teacher in the loss, and how soft its answers are made
            (Hinton et al. 2015); 1 suits a teacher whose head is fitted, as it is calibrated.
        seed: of weights, order and augmentation.
        data, terms: name and terms of the set, for the card.
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
    turns: bool = False
    color: float = 0.2
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
        """Learning rate at a moment of the run, in epochs from 0."""
        if epoch < self.warmup_epochs:
            return self.learning_rate * min(1.0, (epoch + 0.01) / self.warmup_epochs)
        return self.learning_rate * max(0.0, (self.epochs - epoch) / (self.epochs - self.warmup_epochs))


# What a field's number may be: the least and the largest value.
_RANGES = {
    'px': (16, 1024), 'store_px': (0, 2048), 'early_px': (0, 1024), 'teacher_px': (64, 512),
    'epochs': (1, 100_000), 'batch': (1, 1 << 20), 'learning_rate': (0, 100), 'warmup_epochs': (0, 1000),
    'weight_decay': (0, 1), 'momentum': (0, 0.9999), 'label_smoothing': (0, 0.9), 'ema': (0, 0.99999),
    'mixup': (0, 100), 'cutmix': (0, 100), 'crop_scale': (0.01, 1), 'color': (0, 1), 'early_share': (0, 1),
    'distill_weight': (0, 1), 'temperature': (0.1, 100), 'seed': (0, 2**31 - 1),
}
_FROZEN = ('', 'norms', 'backbone')
_NAMES = tuple(field.name for field in fields(Recipe))
_REQUIRED = ('name', 'px', 'epochs')


def make_recipe(values: Mapping[str, Any], where: str) -> Recipe:
    """A recipe of plain values, as YAML, JSON or a command line gives them.

    Raises:
        ZooError: a field that is unknown, missing, of another type or out of range.
    """
    if unknown := sorted(map(str, set(values) - set(_NAMES))):
        raise ZooError(f'{where}: unknown fields {unknown}; expected some of {list(_NAMES)}')
    if missing := [name for name in _REQUIRED if name not in values]:
        raise ZooError(f'{where}: {missing} missing; expected at least {list(_REQUIRED)}')
    recipe = Recipe(**{name: _value(name, value, where) for name, value in values.items()})
    if recipe.early_share > 0 and recipe.early_px == 0:
        raise ZooError(f'{where}: early_share is {recipe.early_share} without early_px; give the side of the '
                       'early epochs, or early_share: 0')
    if 0 < recipe.early_px < _RANGES['px'][0]:
        raise ZooError(f'{where}: early_px is {recipe.early_px}; expected 0 for none, or at least '
                       f'{_RANGES["px"][0]}')
    if recipe.warmup_epochs >= recipe.epochs:
        raise ZooError(f'{where}: warmup_epochs is {recipe.warmup_epochs}; expected less than epochs '
                       f'({recipe.epochs})')
    if recipe.frozen not in _FROZEN:
        raise ZooError(f'{where}: frozen is {recipe.frozen!r}; expected one of {list(_FROZEN)}')
    return recipe


def _value(name: str, value: Any, where: str) -> Any:
    kind = next(field.type for field in fields(Recipe) if field.name == name)
    if name == 'crop_scale':
        if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
            raise ZooError(f'{where}: crop_scale is {value!r}; expected two numbers such as [0.35, 1.0]')
        low, high = (_number(name, item, float, where) for item in value)
        if low > high:
            raise ZooError(f'{where}: crop_scale is {value!r}; expected the smaller number first')
        return low, high
    if kind is bool:
        if not isinstance(value, bool):
            raise ZooError(f'{where}: {name} is {value!r}; expected true or false')
        return value
    if name in _RANGES:
        return _number(name, value, int if kind is int else float, where)
    if not isinstance(value, (str, dict) if name == 'network' else str):
        raise ZooError(f'{where}: {name} is {value!r}; expected a text')
    if name == 'name' and not _names_a_file(value):
        raise ZooError(f'{where}: name is {value!r}; expected a text that can be the name of a file, without '
                       'slashes and not with a dot first')
    return value


def _names_a_file(text: str) -> bool:
    return bool(text) and text.isprintable() and not set(text) & {'/', '\\'} and text[0] != '.'


def _number(name: str, value: Any, kind: type, where: str) -> float:
    low, high = _RANGES[name]
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high
    if not good or (kind is int and value != int(value)):
        # YAML 1.1 reads 4e-5 as a text: its numbers need the dot.
        hint = f'; write {float(value)!r} with a dot, as in 4.0e-5' if _reads_as_number(value) else ''
        what = 'a whole number' if kind is int else 'a number'
        raise ZooError(f'{where}: {name} is {value!r}; expected {what} from {low} to {high}{hint}')
    return kind(value)


def _reads_as_number(value: Any) -> bool:
    try:
        return isinstance(value, str) and float(value) is not None
    except ValueError:
        return False


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe by the name of a shipped one, or by path.

    Args:
        overrides: `FIELD=VALUE`, the value as it would stand in the file.

    Raises:
        ZooError: no such recipe, or a field that cannot be used.
    """
    path = Path(name_or_path)
    if not path.suffix:
        path = RECIPES / f'{name_or_path}.yaml'
    if not path.is_file():
        known = ', '.join(sorted(p.stem for p in RECIPES.glob('*.yaml')))
        raise ZooError(f'no recipe {name_or_path!r}: expected a YAML file or one of {known}')
    given = dict(map(_override, overrides))
    try:
        values = read_yaml(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ZooError(f'{path}: no YAML that can be read: {error}') from error
    if not isinstance(values, dict):
        raise ZooError(f'{path}: holds {type(values).__name__}; expected fields such as px: 64')
    return make_recipe(values | given, str(path))


def _override(item: str) -> tuple[str, Any]:
    name, equals, value = item.partition('=')
    if not equals:
        raise ZooError(f'--set {item}: expected FIELD=VALUE, such as epochs=5')
    try:
        parsed = read_yaml(value)
    except ValueError as error:
        raise ZooError(f'--set {item}: no YAML that can be read ({error}); expected a value as it stands in '
                       "a recipe, such as 'crop_scale=[0.5, 1]'") from error
    return name.strip(), value if parsed is None or name == 'name' else parsed
