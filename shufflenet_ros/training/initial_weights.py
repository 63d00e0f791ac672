# SPDX-License-Identifier: Apache-2.0
"""Read the weights of an earlier run, an import or a bundle into one form."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from shufflenet_ros.bundles.files import read_regular
from shufflenet_ros.importers.state_file import MAX_BYTES, plain
from shufflenet_ros.importers.weights import Tensors
from shufflenet_ros.training.checkpoint import FILE
from shufflenet_ros.zoo.errors import ZooError
from shufflenet_ros.zoo.normalization import Normalization
from shufflenet_ros.zoo.registry import NETWORKS, Config, config_of

_KINDS = 'a run folder, a .pt of `models import`, or a bundle by name or path'


@dataclass(frozen=True)
class InitialWeights:
    """Weights under our names, and what is known about them.

    Attributes:
        tensors: without `fc`, and perhaps without `last`, if the file has no head.
        labels: one per row of `fc`; none without a head.
        by: the normalization that the weights were trained with.
        source, terms: where they come from, and under which terms.
    """

    config: Config
    tensors: Tensors
    labels: tuple[str, ...]
    by: Normalization
    source: str
    terms: str


def read_initial_weights(init: str) -> InitialWeights:
    """The weights in a run folder, a .pt of `models import`, or a bundle by name or path.

    Raises:
        ModelError: an unknown bundle, or a file that cannot be read.
        ZooError: anything else, or damaged.
    """
    path = Path(init)
    if path.is_dir():
        return _from_checkpoint(path / FILE)
    if init in NETWORKS:
        raise ZooError(f'--init {init}: is a network without weights: expected {_KINDS}; for random weights '
                       f'omit --init and write network: {init} in the recipe')
    if path.suffix == '.pt':
        return _from_checkpoint(path)
    if path.suffix in ('.pth', '.zip'):
        raise ZooError(f'--init {init}: expected {_KINDS}; run `shufflenet-ros models import {init} -o '
                       f'{path.name.split(".")[0]}.pt` first')
    return _from_bundle(init)


def _from_checkpoint(path: Path) -> InitialWeights:
    state = _load(path)
    try:
        tensors = plain(state['model'], str(path))
        if state.get('ema'):
            tensors |= plain(state['ema'], str(path))
        labels = tuple(state['labels'])
        config = config_of(state['network'], max(1, len(labels)))
        by = read_normalization(state)
        source, terms = _run_origin(state) if 'recipe' in state else _card_origin(path.name, state['card'])
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ZooError(f'{path}: {type(error).__name__} {error}: expected a checkpoint of this version of '
                       '`shufflenet-ros train` or `models import`') from error
    return InitialWeights(config, tensors, labels, by, source, terms)


def read_normalization(state: Mapping[str, Any]) -> Normalization:
    """The normalization of a checkpoint.

    Raises:
        KeyError, TypeError: it is missing or has another form.
    """
    mean, std = (tuple(map(float, state['normalization'][key])) for key in ('mean', 'std'))
    return Normalization(mean, std)  # type: ignore[arg-type]  # three numbers each


def _load(path: Path) -> dict[str, Any]:
    data = read_regular(path, MAX_BYTES)
    try:
        state = torch.load(io.BytesIO(data), map_location='cpu', weights_only=True)
    except Exception as error:  # a damaged or hostile pickle can make the reader raise anything
        raise ZooError(f'{path}: is not a checkpoint of plain tensors ({type(error).__name__}: '
                       f'{" ".join(str(error).split())[:200]}): expected one of `shufflenet-ros train` or '
                       '`models import`') from error
    if not isinstance(state, dict):
        raise ZooError(f'{path}: holds {type(state).__name__}: expected a checkpoint of `shufflenet-ros '
                       'train` or `models import`')
    return state


def _from_bundle(name_or_path: str) -> InitialWeights:
    # here: training without a bundle needs no onnx
    from shufflenet_ros.bundles.bundle import open_bundle
    from shufflenet_ros.importers.onnx_weights import import_onnx_weights

    bundle = open_bundle(name_or_path)
    imported, _ = import_onnx_weights(bundle)
    card, model = bundle.card, imported.model
    fields = {'source': card.source, 'license': card.license, 'training': card.training}
    source, terms = _card_origin(card.name, fields)
    return InitialWeights(model.config, dict(model.state_dict()), card.labels, imported.by, source, terms)


def _run_origin(state: Mapping[str, Any]) -> tuple[str, str]:
    """Source and terms of a run's weights: of its data, and of its own initial weights."""
    recipe, before = json.loads(state['recipe']), state['origin']
    name = f'run of {recipe["name"]}, {state["epoch"]} epochs'
    terms = _joined(recipe['terms'], before['terms']) or f'unknown for {name}'
    return _joined(name, before['source']), terms


def _card_origin(name: str, fields: Mapping[str, Any]) -> tuple[str, str]:
    """Source and terms of imported or exported weights: of their data, and their license."""
    terms = _joined(fields['training'].get('terms', ''), fields['license']) or f'unknown for {name}'
    return _joined(name, fields['source']), terms


def _joined(*texts: str) -> str:
    return '; '.join(dict.fromkeys(text for text in texts if text))
