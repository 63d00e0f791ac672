"""What a training starts from: weights of an earlier run, an import or a bundle, under the new labels."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from shufflenet_ros.importers.weights import BN_LEAVES, Tensors
from shufflenet_ros.training.grow import grow, is_wider
from shufflenet_ros.training.initial_weights import InitialWeights, find_weights
from shufflenet_ros.zoo.backbone import Backbone
from shufflenet_ros.zoo.errors import ZooError
from shufflenet_ros.zoo.normalization import Normalization
from shufflenet_ros.zoo.registry import Config, build, config_of, values_of
from shufflenet_ros.zoo.shufflenet_v1 import ShuffleNetV1, ShuffleNetV1Config

# Tells copies apart. The first model grown from 0.5x to 1x: its logits change by 5 % of their spread, its
# top-1 on 1000 images from 35.4 to 35.6 %; with 0.1, to 27.0 %.
GROWTH_NOISE = 0.01


@dataclass(frozen=True)
class Start:
    """A network to train, and what it brings along.

    Attributes:
        model: on the CPU, one logit a label, filled.
        by: what its weights were trained to see.
        random: the parts that the weights have nothing for: none, `fc`, or with it v2's last convolution
            `last`.
        recalibrate: whether its BN is folded into the convolutions, so that `recalibrate` must come before
            training in which BN learns.
        source: where the weights come from, for the card.
        terms: under which terms; weights inherit them.
    """

    model: Backbone
    by: Normalization
    random: tuple[str, ...]
    recalibrate: bool
    source: str
    terms: str

    @property
    def new_head(self) -> bool:
        """Whether the linear layer is random."""
        return bool(self.random)


def open_start(init: str, labels: tuple[str, ...], network: str | dict[str, Any] = '') -> Start:
    """The weights of `init` in a network for these labels.

    The linear layer is kept for the same labels, its rows in their order; for others it is new, from torch's
    global generator.

    Args:
        init: a run folder (its averaged weights where it has some), a .pt of `models import`, or a bundle by
            name or path.
        network: what the recipe asks for, as for `config_of`; '' for the network that the weights have.
            A wider ShuffleNet v1 is grown from them.

    Raises:
        ModelError: no such bundle, or a file that cannot be read.
        ZooError: not an init, damaged, or of another network than asked for.
    """
    found = find_weights(init)
    small, random = _fill(found, labels, init)
    model = small if network == '' else _asked(small, config_of(network, len(labels)), bool(random), init)
    return Start(model, found.by, random, _folded(found.tensors), found.source, found.terms)


def _fill(found: InitialWeights, labels: tuple[str, ...], init: str) -> tuple[Backbone, tuple[str, ...]]:
    """The network with the file's weights under these labels; the parts that stay random."""
    tensors = dict(found.tensors)
    order = _order(found.labels, labels) if 'fc.weight' in tensors else None
    random = [] if order else ['fc']
    if 'fc.weight' not in tensors and not any(key.startswith('last.') for key in tensors):
        random.append('last')
    for key in ('fc.weight', 'fc.bias'):
        tensor = tensors.pop(key, None)
        if tensor is not None and len(tensor) != len(found.labels):
            raise ZooError(f'--init {init}: {key} has {len(tensor)} rows for {len(found.labels)} labels: '
                           'expected one a label; import the file again')
        if tensor is not None and order:
            tensors[key] = tensor[order]
    try:
        model = build(replace(found.config, classes=len(labels)))
        report = model.load_state_dict(tensors, strict=False)
    except (RuntimeError, TypeError) as error:
        raise ZooError(f'--init {init}: its tensors are not of its network '
                       f'({" ".join(str(error).split())[:300]}); import or train it again') from error
    lacking = [key for key in report.missing_keys if key.split('.')[0] not in random]
    if lacking or report.unexpected_keys:
        raise ZooError(f'--init {init}: lacks {lacking[:3]} and has {report.unexpected_keys[:3]} beside: '
                       'expected every tensor of its network and no more; import or train it again')
    return model.eval(), tuple(random)


def _order(old: tuple[str, ...], new: tuple[str, ...]) -> list[int] | None:
    """The row of each new label among the old ones; None where these are not the same labels."""
    if old == new:
        return list(range(len(new)))
    if len(set(old)) == len(old) and sorted(old) == sorted(new):
        return [old.index(label) for label in new]
    return None


def _asked(model: Backbone, config: Config, new_head: bool, init: str) -> Backbone:
    """The model itself where it is what the recipe asks for, or grown to it."""
    if config == model.config:
        return model
    if isinstance(model, ShuffleNetV1) and isinstance(config, ShuffleNetV1Config) \
            and is_wider(model.config, config):
        wide = grow(model, config, GROWTH_NOISE, int(torch.randint(2**31, ())))
        if new_head:
            nn.init.normal_(wide.fc.weight, std=0.01)
        return wide
    raise ZooError(f'--init {init}: is {values_of(model.config)}, and the recipe asks for '
                   f'{values_of(config)}: expected the same network, or a wider ShuffleNet v1 with the same '
                   'options; leave `network` out of the recipe, or start from other weights')


def _folded(tensors: Tensors) -> bool:
    """Whether a BN has the neutral statistics that a graph with folded BN gives."""
    return any(not tensor.any() and bool((tensors[key.replace('_mean', '_var')] == 1).all())
               for key, tensor in tensors.items() if key.endswith('running_mean'))


@torch.no_grad()
def recalibrate(model: nn.Module, batches: Iterable[torch.Tensor]) -> None:
    """Give every BN the statistics of what it sees, and change its scale and shift so that nothing else does.

    In evaluation the network then computes what it computed before; in training, where BN normalizes by the
    batch, nearly the same. One pass in evaluation is enough, as no layer's answer changes.

    Args:
        batches: (N, 3, H, W) as training feeds them, on the model's device; some hundred images in all.

    Raises:
        ZooError: no batch.
    """
    moments: dict[nn.BatchNorm2d, list[tuple[int, torch.Tensor, torch.Tensor]]] = {
        module: [] for module in model.modules() if isinstance(module, nn.BatchNorm2d)}

    def note(norm: nn.BatchNorm2d, inputs: tuple[torch.Tensor]) -> None:
        x = inputs[0]
        variance, mean = torch.var_mean(x.float(), (0, 2, 3), correction=0)
        moments[norm].append((x.numel() // x.shape[1], mean.double().cpu(), variance.double().cpu()))

    training = model.training
    hooks = [norm.register_forward_pre_hook(note) for norm in moments]
    try:
        model.eval()
        for batch in batches:
            model(batch)
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    for norm, noted in moments.items():
        if not noted:
            raise ZooError('no image to take the statistics of BN from: expected at least one batch')
        _restate(norm, *_pooled(noted))


def _pooled(noted: list[tuple[int, torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance of all batches together, in double precision: their difference may be small."""
    counts = torch.tensor([float(count) for count, _, _ in noted], dtype=torch.float64)
    share = (counts / counts.sum())[:, None]
    means = torch.stack([mean for _, mean, _ in noted])
    variances = torch.stack([variance for _, _, variance in noted])
    mean = (share * means).sum(0)
    return mean, (share * (variances + (means - mean).square())).sum(0)


def _restate(norm: nn.BatchNorm2d, mean: torch.Tensor, variance: torch.Tensor) -> None:
    """The same straight line through other statistics; a channel that never changes gets sqrt(eps) of it."""
    old = {key: getattr(norm, key).double().cpu() for key in BN_LEAVES}
    slope = old['weight'] / (old['running_var'] + norm.eps).sqrt()
    norm.bias.copy_(old['bias'] + slope * (mean - old['running_mean']))
    norm.weight.copy_(slope * (variance + norm.eps).sqrt())
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
