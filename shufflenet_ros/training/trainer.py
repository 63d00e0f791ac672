"""The training loop: one device or many, resumable at every step."""

import hashlib
import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from shufflenet_ros.core.files import write_whole
from shufflenet_ros.training.batches import Batches, loss_of
from shufflenet_ros.training.checkpoint import read_checkpoint, write_checkpoint
from shufflenet_ros.training.data import ImageSet
from shufflenet_ros.training.progress import Report
from shufflenet_ros.training.recipe import Recipe
from shufflenet_ros.training.start import Start, open_start, recalibrate
from shufflenet_ros.training.stop_signals import StopRequest
from shufflenet_ros.training.validation import correct, learned_nothing, scores
from shufflenet_ros.zoo.errors import ZooError
from shufflenet_ros.zoo.normalization import IMAGENET, Normalization
from shufflenet_ros.zoo.registry import build, config_of, values_of

SAVE_EVERY_S = 300
_RECALIBRATION_BATCHES = 8


class TrainingInterruptedError(KeyboardInterrupt):
    """The run was told to stop; its state is saved."""


def make_fabric(device: str = 'auto') -> Fabric:
    """The devices of this run: those that torchrun started a process for, else one.

    On a GPU the arithmetic is mixed: bfloat16 where the GPU has it, else float16.

    Args:
        device: auto, cpu or cuda.

    Raises:
        ZooError: there is no such device here.
    """
    gpu = torch.cuda.is_available()
    if device == 'cuda' and not gpu:
        raise ZooError('--device cuda: no GPU that this PyTorch can use; expected --device cpu')
    world = int(os.environ.get('WORLD_SIZE', '1'))
    local = int(os.environ.get('LOCAL_WORLD_SIZE', '1'))
    on_gpu = gpu and device != 'cpu'
    precision = ('bf16-mixed' if torch.cuda.is_bf16_supported() else '16-mixed') if on_gpu else '32-true'
    fabric = Fabric(accelerator='cuda' if on_gpu else 'cpu', devices=local, num_nodes=world // local,
                    strategy='ddp' if world > 1 else 'auto', precision=precision)
    fabric.launch()
    return fabric


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay on convolutions and the linear layer alone: none on BN and biases."""
    trained = [p for p in model.parameters() if p.requires_grad]
    return [{'params': [p for p in trained if p.ndim > 1], 'weight_decay': weight_decay},
            {'params': [p for p in trained if p.ndim <= 1], 'weight_decay': 0.0}]


class Trainer:
    """Trains one recipe into a folder, from where the folder's checkpoint stands.

    Attributes:
        model: the network as it is trained.
        epoch, step: what comes next.
        history: the log's lines until now.
    """

    def __init__(self, recipe: Recipe, train: ImageSet, val: ImageSet, out: Path, *, init: str = '',
                 teacher: np.ndarray | None = None, fabric: Fabric | None = None, compiled: bool = False):
        """Build or resume.

        Args:
            init: what to start from, see `open_start`; '' for random weights.
            teacher: (N, C) logits of the recipe's teacher for the training images.
            compiled: let torch.compile make the network's code; needs a C++ compiler on a CPU.

        Raises:
            ZooError: the checkpoint is damaged or of another recipe or set; or see `open_start`, `Batches`.
        """
        if bool(recipe.teacher) != (teacher is not None):
            raise ZooError(f"the recipe's teacher is {recipe.teacher!r}: expected logits for a teacher, and "
                           'none for none')
        self.fabric = fabric or make_fabric('cpu')
        self.recipe, self.out, self._val, self._labels = recipe, out, val, train.labels
        self.epoch = self.step = 0
        self.history: list[dict[str, Any]] = []
        self._partial = {'loss': 0.0, 'seconds': 0.0, 'core_seconds': 0.0}
        self._sets = _described(train, val)
        self._init = init
        state = read_checkpoint(out)
        start = self._from_checkpoint(state, init) if state else self._fresh(init)
        self._by, self._origin = start.by, {'source': start.source, 'terms': start.terms}
        # Channels-last is 1.3 times faster on a CPU, and what GPUs with tensor cores want.
        self.model = start.model.to(self.fabric.device, memory_format=torch.channels_last)
        self._freeze()
        self._batches = Batches(train, recipe, self._by, self.fabric.device, teacher,
                                self.fabric.global_rank, self.fabric.world_size)
        if start.recalibrate and not state:
            # On whole batches, so that every process comes to the same statistics.
            whole = Batches(train, recipe, self._by, self.fabric.device)
            recalibrate(self.model, [whole.batch(0, step).x
                                     for step in range(min(_RECALIBRATION_BATCHES, whole.steps))])
        self.optimizer = torch.optim.SGD(parameter_groups(self.model, recipe.weight_decay), lr=0.0,
                                         momentum=recipe.momentum, nesterov=recipe.momentum > 0)
        self.ema = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema),
                                 use_buffers=True) if recipe.ema else None
        if state:
            self._restore(state)
        network = torch.compile(self.model) if compiled else self.model
        self._network, self._stepper = self.fabric.setup(network, self.optimizer)

    def _fresh(self, init: str) -> Start:
        torch.manual_seed(self.recipe.seed)
        if init:
            start = open_start(init, self._labels, self.recipe.network)
            if self.recipe.frozen == 'backbone' and 'last' in start.random:
                raise ZooError(f'frozen is backbone, and --init {init} has nothing for the last convolution: '
                               'expected a whole classifier, or --set frozen=')
            return start
        if self.recipe.frozen == 'backbone':
            raise ZooError('frozen is backbone, and there is no --init: expected weights that are worth '
                           'keeping')
        if not self.recipe.network:
            raise ZooError(f'recipe {self.recipe.name} has no network: expected --init with one to start '
                           'from, or --set network=NAME')
        model = build(self.recipe.config(len(self._labels)))
        return Start(model, IMAGENET, ('fc', 'last'), recalibrate=False, source='', terms='')

    def _from_checkpoint(self, state: dict[str, Any], init: str) -> Start:
        if state['recipe'] != json.dumps(asdict(self.recipe)):
            theirs, ours = json.loads(state['recipe']), json.loads(json.dumps(asdict(self.recipe)))
            other = ', '.join(f'{key} {theirs.get(key)!r} instead of {value!r}' for key, value in ours.items()
                              if theirs.get(key) != value)
            raise ZooError(f'{self.out} holds the run of another recipe ({other}): choose another --out, or '
                           'delete it')
        if state['labels'] != list(self._labels):
            raise ZooError(f'{self.out} holds a run on other classes: choose another --out, or delete it')
        # A set that grew is cut elsewhere, and what was learned would validate.
        if (was := state['sets']) != self._sets:
            raise ZooError(f'{self.out} holds a run on other images ({_last_reported(was)} instead of '
                           f'{_last_reported(self._sets)}): give it the same set, choose another --out, or delete it')
        if init and (was := state['init']) != init:
            raise ZooError(f'{self.out} holds a run that started from {was!r} instead of {init!r}: choose '
                           'another --out, or delete it')
        self._init = state['init']
        by = Normalization(*(tuple(state['normalization'][key]) for key in ('mean', 'std')))
        model = build(config_of(state['network'], len(self._labels)))
        return Start(model, by, (), recalibrate=False, **state['start'])

    def _restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state['model'])
        self.optimizer.load_state_dict(state['optimizer'])
        if self.ema:
            self.ema.module.load_state_dict(state['ema'])
            self.ema.n_averaged.fill_(state['averaged'])
        self.epoch, self.step, self.history = state['epoch'], state['step'], state['history']
        self._partial = state['partial']

    def save(self) -> None:
        """Write the checkpoint."""
        if not self.fabric.is_global_zero:
            return
        self.out.mkdir(parents=True, exist_ok=True)
        write_checkpoint(self.out, {
            'recipe': json.dumps(asdict(self.recipe)), 'network': values_of(self.model.config),
            'init': self._init, 'sets': self._sets,
            'labels': list(self._labels), 'normalization': asdict(self._by), 'start': self._origin,
            'model': self.model.state_dict(), 'optimizer': self.optimizer.state_dict(),
            'ema': self.ema.module.state_dict() if self.ema else None,
            'averaged': int(self.ema.n_averaged) if self.ema else 0,
            'epoch': self.epoch, 'step': self.step, 'partial': self._partial, 'history': self.history})

    def _freeze(self) -> None:
        if self.recipe.frozen == 'backbone':
            self.model.requires_grad_(False)
            self.model.fc.requires_grad_(True)

    def _train_mode(self) -> None:
        """What is frozen stays in evaluation, where BN keeps its statistics."""
        self._network.train(not self.recipe.frozen)

    def learn(self) -> float:
        """One step; its loss."""
        for group in self.optimizer.param_groups:
            group['lr'] = self.recipe.rate_at(self.epoch + self.step / self._batches.steps)
        batch = self._batches.batch(self.epoch, self.step)
        loss = loss_of(self._network(batch.x), batch, self.recipe)
        self._stepper.zero_grad()
        self.fabric.backward(loss)
        self._stepper.step()
        if self.ema:
            self.ema.update_parameters(self.model)
        self.step += 1
        return float(loss.detach())

    def run(self) -> float:
        """Train what is left of the recipe; the validation top-1 of the last epoch.

        Raises:
            TrainingInterruptedError: SIGINT or SIGTERM came; the same call goes on from there.
            ZooError: the loss is no number any more.
        """
        report = None
        if self.fabric.is_global_zero:
            self.out.mkdir(parents=True, exist_ok=True)
            write_whole(self.out / 'labels.json', json.dumps(self._labels).encode())
            report = Report(self.out, self.recipe, self._batches.steps, self.epoch, self.step)
        stop = StopRequest()
        try:
            while self.epoch < self.recipe.epochs:
                self._epoch(report, stop)
        finally:
            stop.restore()
            if report:
                report.close()
        return float(self.history[-1]['val_top1'])

    def _epoch(self, report: Report | None, stop: StopRequest) -> None:
        started, cpu = time.monotonic(), time.process_time()
        saved, before = started, dict(self._partial)

        def spend() -> None:
            self._partial['seconds'] = before['seconds'] + time.monotonic() - started
            self._partial['core_seconds'] = before['core_seconds'] + time.process_time() - cpu

        self._train_mode()
        while self.step < self._batches.steps:
            loss = self.learn()
            if not np.isfinite(loss):
                raise ZooError(f'epoch {self.epoch + 1}, step {self.step}: the loss is {loss}; expected a '
                               f'number. Try --set learning_rate={self.recipe.learning_rate / 3:.3g}; '
                               f'{self.out} keeps the state from before')
            self._partial['loss'] += loss
            if report:
                report.step(self.epoch, self.step, loss, self._partial['loss'] / self.step,
                            self.optimizer.param_groups[0]['lr'])
            if stop.came or time.monotonic() - saved > SAVE_EVERY_S:
                spend()
                self.save()
                saved = time.monotonic()
            if stop.came:
                raise TrainingInterruptedError(f'stopped in epoch {self.epoch + 1} after step {self.step}')
        spend()
        self._close_epoch()
        if report:
            report.epoch(self.history)

    def _close_epoch(self) -> None:
        spent, steps = self._partial, self._batches.steps
        self.history.append({
            'epoch': self.epoch + 1, 'px': self.recipe.px_at(self.epoch),
            'loss': round(spent['loss'] / steps, 4), **self.validate(),
            'images_per_s': round(steps * self.recipe.batch / spent['seconds'], 1),
            'minutes': round(spent['seconds'] / 60, 2), 'core_minutes': round(spent['core_seconds'] / 60, 2)})
        self.epoch, self.step = self.epoch + 1, 0
        self._partial = dict.fromkeys(self._partial, 0.0)
        self.save()

    def validate(self) -> dict[str, float]:
        """`scores` on the validation set, of the averaged weights if there are some."""
        model = self.ema.module if self.ema else self.model
        fabric = self.fabric
        hits = correct(model, self._val, self._by, fabric.device, fabric.global_rank, fabric.world_size)
        if fabric.world_size > 1:
            hits = fabric.all_reduce(hits.to(fabric.device), reduce_op='sum').cpu()
        return scores(hits.numpy(), self._val.targets)

    def learned_nothing(self) -> str:
        """Why the run so far is no better than guessing; '' where it is better."""
        return learned_nothing(self.history, len(self._labels))


def _described(train: ImageSet, val: ImageSet) -> dict[str, Any]:
    """How many images, and a digest of their classes in order."""
    digest = hashlib.sha256(train.targets.tobytes() + val.targets.tobytes()).hexdigest()[:8]
    return {'learned': len(train.targets), 'validated': len(val.targets), 'classes': digest}


def _last_reported(sets: dict[str, Any]) -> str:
    return f'{sets["learned"]} and {sets["validated"]} of classes {sets["classes"]}'
