"""A training recipe: every choice of a run, read from a YAML file."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from shufflenet_ros.zoo.errors import ZooError
from shufflenet_ros.zoo.registry import Config, config_of

RECIPES = Path(__file__).parent / 'recipes'


@dataclass(frozen=True)
class Recipe:
    """How one model is trained.

    Attributes:
        name: of the bundle it makes.
        network: a name of the registry, or fields of a configuration (`registry.config_of`).
        px: side of the network's input in training's end, validation and deployment.
        epochs, batch, learning_rate, warmup_epochs, weight_decay, momentum, label_smoothing: SGD with
            Nesterov momentum; the rate rises linearly over the warm-up and falls linearly to 0.
        crop_scale: range of the random crop's share of the image's area.
        colour: strength of the brightness and contrast jitter.
        early_px, early_share: side of the input during the first share of the epochs.
        seed: of weights, order and augmentation.
    """

    name: str
    network: str | dict[str, Any]
    px: int
    epochs: int
    batch: int = 128
    learning_rate: float = 0.3
    warmup_epochs: float = 1.0
    weight_decay: float = 4e-5
    momentum: float = 0.9
    label_smoothing: float = 0.0
    crop_scale: tuple[float, float] = (0.35, 1.0)
    colour: float = 0.2
    early_px: int = 0
    early_share: float = 0.0
    seed: int = 0

    def config(self, classes: int) -> Config:
        """The network for that many classes."""
        return config_of(self.network, classes)

    def px_at(self, epoch: int) -> int:
        """Side of the training input in an epoch, counted from 0."""
        return self.early_px if epoch < self.early_share * self.epochs else self.px

    def rate_at(self, epoch: float) -> float:
        """Learning rate at a moment of the run, in epochs from 0."""
        if epoch < self.warmup_epochs:
            return self.learning_rate * (epoch + 0.01) / self.warmup_epochs
        return self.learning_rate * max(0.0, (self.epochs - epoch) / (self.epochs - self.warmup_epochs))


def load_recipe(name_or_path: str) -> Recipe:
    """Read a recipe by the name of a shipped one, or by path.

    Raises:
        ZooError: no such recipe, or a field that is unknown or missing.
    """
    path = Path(name_or_path)
    if not path.suffix:
        path = RECIPES / f'{name_or_path}.yaml'
    if not path.is_file():
        known = ', '.join(sorted(p.stem for p in RECIPES.glob('*.yaml')))
        raise ZooError(f'no recipe {name_or_path!r}: expected a YAML file or one of {known}')
    values = yaml.safe_load(path.read_text())
    unknown = set(values) - {f.name for f in fields(Recipe)}
    if unknown:
        known = [f.name for f in fields(Recipe)]
        raise ZooError(f'{path}: unknown fields {sorted(unknown)}; expected some of {known}')
    if 'crop_scale' in values:
        values['crop_scale'] = tuple(values['crop_scale'])
    try:
        return Recipe(**values)
    except TypeError as error:
        raise ZooError(f'{path}: {error}') from error
