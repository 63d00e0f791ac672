# SPDX-License-Identifier: Apache-2.0
"""Build the network that training starts from: the weights of an earlier run, an import or a bundle."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from shufflenet_ros.importers.state_file import plain
from shufflenet_ros.importers.weights import BN_LEAVES, Tensors
from shufflenet_ros.training.checkpoint import FILE, load_checkpoint, read_normalization
from shufflenet_ros.training.grow import grow, is_wider
from shufflenet_ros.zoo.backbone import Backbone
from shufflenet_ros.zoo.errors import ZooError
from shufflenet_ros.zoo.normalization import IMAGENET, Normalization
from shufflenet_ros.zoo.registry import NETWORKS, Config, build, config_of, values_of
from shufflenet_ros.zoo.shufflenet_v1 import ShuffleNetV1, ShuffleNetV1Config

# Makes copies differ. Measured on the first model, grown from 0.5x to 1x: its logits change by 5 % of their
# spread, its top-1 on 1000 images from 35.4 to 35.6 %; with 0.1, to 27.0 %.
GROWTH_NOISE = 0.01
_KINDS = 'a run folder, a .pt of `models import`, or a bundle by name or path'


@dataclass(frozen=True)
class InitialModel:
    """A network to train, and the origin of its weights.

    Attributes:
        model: on the CPU, one logit per label, with its weights.
        normalization: of the images that the weights were trained on.
        random: the parts without trained weights: none, `fc`, or `fc` and v2's last convolution `last`.
        bn_folded: whether BN is folded into the convolutions. Then `recalibrate` must run before training.
        source, terms: of the weights, for the card.
    """

    model: Backbone
    normalization: Normalization = IMAGENET
    random: tuple[str, ...] = ()
    bn_folded: bool = False
    source: str = ''
    terms: str = ''


@dataclass(frozen=True)
class _Weights:
    """The content of a file.

    Attributes:
        tensors: under our names; without `fc`, and perhaps without `last`, if the file has no head.
        labels: one per row of `fc`; none without a head.
        normalization, source, terms: see `InitialModel`.
    """

    config: Config
    tensors: Tensors
    labels: tuple[str, ...]
    normalization: Normalization
    source: str
    terms: str


def load_initial_model(init: str, labels: tuple[str, ...], network: str | dict[str, Any] = ''
                       ) -> InitialModel:
    """The weights of `init` in a network for these labels.

    If the labels are the same, perhaps in another order, the linear layer is reused. Otherwise it is new and
    random, from torch's global generator.

    Args:
        init: a run folder (its averaged weights if it has some), a .pt of `models import`, or a bundle by
            name or path.
        network: the recipe's network, as for `config_of`; '' for the network that the weights have. A wider
            ShuffleNet v1 is grown from them.

    Raises:
        ModelError: an unknown bundle, or a file that cannot be read.
        ZooError: not initial weights, damaged, or of another network than the recipe's.
    """
    weights = _read_weights(init)
    model, random = _fill(weights, labels, init)
    if network != '':
        model = _fit_to(config_of(network, len(labels)), model, bool(random), init)
    return InitialModel(model, weights.normalization, random, _bn_folded(weights.tensors), weights.source,
                        weights.terms)


def _read_weights(init: str) -> _Weights:
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


def _from_checkpoint(path: Path) -> _Weights:
    state = load_checkpoint(path, 'train or import it again')
    try:
        tensors = plain(state['model'], str(path))
        if state.get('ema'):
            tensors |= plain(state['ema'], str(path))
        labels = tuple(state['labels'])
        config = config_of(state['network'], max(1, len(labels)))
        normalization = read_normalization(state)
        source, terms = _run_origin(state) if 'recipe' in state else _card_origin(path.name, state['card'])
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ZooError(f'{path}: {type(error).__name__} {error}: expected a checkpoint of this version of '
                       '`shufflenet-ros train` or `models import`') from error
    return _Weights(config, tensors, labels, normalization, source, terms)


def _from_bundle(name_or_path: str) -> _Weights:
    # here: training without a bundle needs no onnx
    from shufflenet_ros.bundles.bundle import open_bundle
    from shufflenet_ros.importers.onnx_weights import import_onnx_weights

    bundle = open_bundle(name_or_path)
    imported, _ = import_onnx_weights(bundle)
    card, model = bundle.card, imported.model
    fields = {'source': card.source, 'license': card.license, 'training': card.training}
    source, terms = _card_origin(card.name, fields)
    return _Weights(model.config, dict(model.state_dict()), card.labels, imported.normalization, source,
                    terms)


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


def _fill(weights: _Weights, labels: tuple[str, ...], init: str) -> tuple[Backbone, tuple[str, ...]]:
    """The network with the file's weights and these labels, and the parts that stay random."""
    tensors = dict(weights.tensors)
    rows = _rows(weights.labels, labels) if 'fc.weight' in tensors else None
    random = [] if rows else ['fc']
    if 'fc.weight' not in tensors and not any(key.startswith('last.') for key in tensors):
        random.append('last')
    for key in ('fc.weight', 'fc.bias'):
        tensor = tensors.pop(key, None)
        if tensor is not None and len(tensor) != len(weights.labels):
            raise ZooError(f'--init {init}: {key} has {len(tensor)} rows for {len(weights.labels)} labels: '
                           'expected one per label; import the file again')
        if tensor is not None and rows:
            tensors[key] = tensor[rows]
    try:
        model = build(replace(weights.config, classes=len(labels)))
        report = model.load_state_dict(tensors, strict=False)
    except (RuntimeError, TypeError) as error:
        raise ZooError(f'--init {init}: its tensors do not fit its network '
                       f'({" ".join(str(error).split())[:300]}); import or train it again') from error
    missing = [key for key in report.missing_keys if key.split('.')[0] not in random]
    if missing or report.unexpected_keys:
        raise ZooError(f'--init {init}: lacks {missing[:3]}, has extra {report.unexpected_keys[:3]}: '
                       'expected exactly the tensors of its network; import or train it again')
    return model.eval(), tuple(random)


def _rows(old: tuple[str, ...], new: tuple[str, ...]) -> list[int] | None:
    """The row of each new label among the old ones; None if the labels are not the same."""
    if old == new:
        return list(range(len(new)))
    if len(set(old)) == len(old) and sorted(old) == sorted(new):
        return [old.index(label) for label in new]
    return None


def _fit_to(config: Config, model: Backbone, new_head: bool, init: str) -> Backbone:
    """The model itself, or grown to the recipe's configuration if that is wider."""
    if config == model.config:
        return model
    if isinstance(model, ShuffleNetV1) and isinstance(config, ShuffleNetV1Config) \
            and is_wider(model.config, config):
        wide = grow(model, config, GROWTH_NOISE, int(torch.randint(2**31, ())))
        if new_head:
            nn.init.normal_(wide.fc.weight, std=0.01)
        return wide
    raise ZooError(f'--init {init}: is {values_of(model.config)}, but the recipe specifies '
                   f'{values_of(config)}: expected the same network, or a wider ShuffleNet v1 with the same '
                   'options; remove `network` from the recipe, or use other weights')


def _bn_folded(tensors: Tensors) -> bool:
    """Whether a BN has mean 0 and variance 1, as after import from a graph with folded BN."""
    return any(not tensor.any() and bool((tensors[key.replace('_mean', '_var')] == 1).all())
               for key, tensor in tensors.items() if key.endswith('running_mean'))


@torch.no_grad()
def recalibrate(model: nn.Module, batches: Iterable[torch.Tensor]) -> None:
    """Give every BN the statistics of its input, and adapt its scale and shift so that its output stays.

    In evaluation mode the network then computes the same as before. In training mode, where BN normalizes by
    the batch, it computes nearly the same. One pass is enough, because no layer's output changes.

    Args:
        batches: (N, 3, H, W) as in training, on the model's device; some hundred images in all.

    Raises:
        ZooError: no batch.
    """
    # Count, sum and sum of squares of each channel; in double precision, because differences may be small.
    sums = {module: torch.zeros(3, module.num_features, dtype=torch.float64)
            for module in model.modules() if isinstance(module, nn.BatchNorm2d)}

    def record(norm: nn.BatchNorm2d, inputs: tuple[torch.Tensor]) -> None:
        x = inputs[0].transpose(0, 1).flatten(1).double()
        sums[norm] += torch.stack((torch.full_like(x[:, 0], x.shape[1]), x.sum(1), x.square().sum(1))).cpu()

    training = model.training
    hooks = [norm.register_forward_pre_hook(record) for norm in sums]
    try:
        model.eval()
        for batch in batches:
            model(batch)
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    for norm, (count, total, squares) in sums.items():
        if not count.any():
            raise ZooError('no image for the statistics of BN: expected at least one batch')
        mean = total / count
        _set_statistics(norm, mean, (squares / count - mean.square()).clamp(min=0))


def _set_statistics(norm: nn.BatchNorm2d, mean: torch.Tensor, variance: torch.Tensor) -> None:
    """The same affine function with other statistics. The weight of a constant channel becomes small."""
    old = {key: getattr(norm, key).double().cpu() for key in BN_LEAVES}
    slope = old['weight'] / (old['running_var'] + norm.eps).sqrt()
    norm.load_state_dict({
        'bias': old['bias'] + slope * (mean - old['running_mean']),
        'weight': slope * (variance + norm.eps).sqrt(), 'running_mean': mean, 'running_var': variance,
    }, strict=False)
