# SPDX-License-Identifier: Apache-2.0
"""The training loop: one device or many, resumable at every step."""

import hashlib
import json
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from shufflenet_ros.core.console import say
from shufflenet_ros.core.files import write_whole
from shufflenet_ros.training.batches import Batches, loss_of
from shufflenet_ros.training.checkpoint import FILE, read_checkpoint, read_normalization
from shufflenet_ros.training.data import ImageDataset
from shufflenet_ros.training.devices import make_fabric
from shufflenet_ros.training.initialization import InitialModel, load_initial_model, recalibrate
from shufflenet_ros.training.recipe import Recipe
from shufflenet_ros.training.run_log import RunLog
from shufflenet_ros.training.validation import count_correct, learned_nothing, scores
from shufflenet_ros.zoo.errors import ZooError
from shufflenet_ros.zoo.registry import build, config_of, values_of
from shufflenet_ros.zoo.saving import save_state

SAVE_EVERY_S = 300
_RECALIBRATION_BATCHES = 8


class TrainingInterruptedError(KeyboardInterrupt):
    """A signal stopped the run; its state is saved."""


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in the list that it yields, instead of ending the process.

    In other threads than the main one the list stays empty: Python allows no handlers there.
    """
    received: list[int] = []

    def on_signal(number: int, _frame: object) -> None:
        received.append(number)
        say('stopping after this step', to=sys.stderr)

    in_main = threading.current_thread() is threading.main_thread()
    previous = {number: signal.signal(number, on_signal)
                for number in (signal.SIGINT, signal.SIGTERM) if in_main}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameters with weight decay (convolutions, linear layer), and those without (BN, biases)."""
    trained = [p for p in model.parameters() if p.requires_grad]
    return [{'params': [p for p in trained if p.ndim > 1], 'weight_decay': weight_decay},
            {'params': [p for p in trained if p.ndim <= 1], 'weight_decay': 0.0}]


class Trainer:
    """Trains one recipe into a folder, and resumes from the folder's checkpoint.

    Attributes:
        model: the network in training.
        epoch, step: the next ones, from 0.
        history: one line of the log for each finished epoch.
    """

    def __init__(self, recipe: Recipe, train: ImageDataset, val: ImageDataset, out: Path, *, init: str = '',
                 teacher: np.ndarray | None = None, fabric: Fabric | None = None, compiled: bool = False):
        """Build or resume.

        Args:
            init: the initial weights, see `load_initial_model`; '' for random ones.
            teacher: (N, C) logits of the recipe's teacher for the training images.
            compiled: use torch.compile; on a CPU that needs a C++ compiler.

        Raises:
            ZooError: the checkpoint is damaged or of another recipe or dataset; or see
                `load_initial_model`, `Batches`.
        """
        if bool(recipe.teacher) != (teacher is not None):
            raise ZooError(f"the recipe's teacher is {recipe.teacher!r}: expected logits if there is a "
                           'teacher, and none if there is not')
        self.fabric = fabric or make_fabric('cpu')
        self.recipe, self.out, self._val, self._labels = recipe, out, val, train.labels
        self.epoch = self.step = 0
        self.history: list[dict[str, Any]] = []
        self._partial = {'loss': 0.0, 'seconds': 0.0, 'core_seconds': 0.0}  # sums over this epoch's steps
        self._saved = time.monotonic()
        self._datasets = _describe(train, val)
        self._init = init
        state = read_checkpoint(out)
        initial = self._from_checkpoint(state) if state else self._fresh()
        self._normalization = initial.normalization
        self._origin = {'source': initial.source, 'terms': initial.terms}
        # Channels-last is 1.3 times faster on a CPU, and the fast format of GPUs with tensor cores.
        self.model = initial.model.to(self.fabric.device)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if recipe.frozen == 'backbone':
            self.model.requires_grad_(False)
            self.model.fc.requires_grad_(True)
        self._batches = Batches(train, recipe, self._normalization, self.fabric.device, teacher,
                                self.fabric.global_rank, self.fabric.world_size)
        if initial.bn_folded and not state:
            # On whole batches, so that every process computes the same statistics.
            whole = Batches(train, recipe, self._normalization, self.fabric.device)
            recalibrate(self.model, [whole.batch(0, step).x
                                     for step in range(min(_RECALIBRATION_BATCHES, whole.steps))])
        self.optimizer = torch.optim.SGD(parameter_groups(self.model, recipe.weight_decay), lr=0.0,
                                         momentum=recipe.momentum, nesterov=recipe.momentum > 0)
        average: Any = get_ema_multi_avg_fn
        self.ema = AveragedModel(self.model, multi_avg_fn=average(recipe.ema),
                                 use_buffers=True) if recipe.ema else None
        if state:
            self._restore(state)
        network: Any = torch.compile(self.model) if compiled else self.model
        self._network, self._optimizer = self.fabric.setup(network, self.optimizer)

    def _fresh(self) -> InitialModel:
        torch.manual_seed(self.recipe.seed)
        frozen_backbone = self.recipe.frozen == 'backbone'
        if self._init:
            initial = load_initial_model(self._init, self._labels, self.recipe.network)
            if frozen_backbone and 'last' in initial.random:
                raise ZooError(f'frozen is backbone, and --init {self._init} has no last convolution: '
                               'expected a whole classifier, or --set frozen=')
            return initial
        if frozen_backbone:
            raise ZooError('frozen is backbone, without --init: expected trained weights to start from')
        if not self.recipe.network:
            raise ZooError(f'recipe {self.recipe.name} has no network: expected --init with one to start '
                           'from, or --set network=NAME')
        model = build(self.recipe.config(len(self._labels)))
        return InitialModel(model)

    def _from_checkpoint(self, state: dict[str, Any]) -> InitialModel:
        self._check_same_run(state)
        self._init = state['init']
        model = build(config_of(state['network'], len(self._labels)))
        return InitialModel(model, read_normalization(state), **state['origin'])

    def _check_same_run(self, state: dict[str, Any]) -> None:
        old, new = json.loads(state['recipe']), json.loads(json.dumps(asdict(self.recipe)))
        changed = ', '.join(f'{key} {old.get(key)!r} instead of {new.get(key)!r}'
                            for key in old | new if old.get(key) != new.get(key))
        if changed:
            problem = f'the run of another recipe ({changed})'
        elif state['labels'] != list(self._labels):
            problem = 'a run on other classes'
        elif (was := state['datasets']) != self._datasets:
            # A dataset that grew is split elsewhere, and images that were trained on would validate.
            problem = f'a run on other images ({_summary(was)} instead of {_summary(self._datasets)})'
        elif self._init and state['init'] != self._init:
            problem = f'a run that started from {state["init"]!r} instead of {self._init!r}'
        else:
            return
        raise ZooError(f'{self.out} has {problem}: repeat the same command, choose another --out, or delete '
                       'it')

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
        self._saved = time.monotonic()
        if not self.fabric.is_global_zero:
            return
        self.out.mkdir(parents=True, exist_ok=True)
        save_state(self.out / FILE, {
            'recipe': json.dumps(asdict(self.recipe)), 'network': values_of(self.model.config),
            'init': self._init, 'datasets': self._datasets, 'labels': list(self._labels),
            'normalization': asdict(self._normalization), 'origin': self._origin,
            'model': self.model.state_dict(), 'optimizer': self.optimizer.state_dict(),
            'ema': self.ema.module.state_dict() if self.ema else None,
            'averaged': int(self.ema.n_averaged) if self.ema else 0,
            'epoch': self.epoch, 'step': self.step, 'partial': self._partial, 'history': self.history})

    def train_step(self) -> float:
        """Train one step; returns its loss."""
        self._network.train(not self.recipe.frozen)  # evaluation mode freezes the statistics of BN
        for group in self.optimizer.param_groups:
            group['lr'] = self.recipe.rate_at(self.epoch + self.step / self._batches.steps)
        batch = self._batches.batch(self.epoch, self.step)
        loss = loss_of(self._network(batch.x), batch, self.recipe)
        self._optimizer.zero_grad()
        self.fabric.backward(loss)
        self._optimizer.step()
        if self.ema:
            self.ema.update_parameters(self.model)
        self.step += 1
        return float(loss.detach())

    def run(self) -> float:
        """Train the rest of the recipe; returns the validation top-1 of the last epoch.

        Raises:
            TrainingInterruptedError: SIGINT or SIGTERM arrived; calling it again resumes.
            ZooError: the loss is not finite.
        """
        log = None
        if self.fabric.is_global_zero:
            self.out.mkdir(parents=True, exist_ok=True)
            write_whole(self.out / 'labels.json', json.dumps(self._labels).encode())
            log = RunLog(self.out, self.recipe, self._batches.steps, self.history, self.step)
        try:
            with _stop_signals() as stop:
                while self.epoch < self.recipe.epochs:
                    self._train_epoch(log, stop)
        finally:
            if log:
                log.close()
        return float(self.history[-1]['val_top1'])

    def _train_epoch(self, log: RunLog | None, stop: list[int]) -> None:
        while self.step < self._batches.steps:
            started, cpu = time.monotonic(), time.process_time()
            loss = self.train_step()
            if not np.isfinite(loss):
                raise ZooError(f'epoch {self.epoch + 1}, step {self.step}: the loss is {loss}; expected a '
                               f'number. Try --set learning_rate={self.recipe.learning_rate / 3:.3g}; '
                               f'{self.out} keeps the state from before')
            self._partial['loss'] += loss
            self._partial['seconds'] += time.monotonic() - started
            self._partial['core_seconds'] += time.process_time() - cpu
            if log:
                log.step(self.epoch, self.step, loss, self._partial['loss'] / self.step,
                         self.optimizer.param_groups[0]['lr'])
            if stop or time.monotonic() - self._saved > SAVE_EVERY_S:
                self.save()
            if stop:
                raise TrainingInterruptedError(f'stopped in epoch {self.epoch + 1} after step {self.step}')
        self._end_epoch()
        if log:
            log.epoch(self.history)

    def _end_epoch(self) -> None:
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
        """`scores` on the validation images, of the averaged weights if there are some."""
        model = self.ema.module if self.ema else self.model
        fabric = self.fabric
        correct = count_correct(model, self._val, self._normalization, fabric.device, fabric.global_rank,
                                fabric.world_size)
        if fabric.world_size > 1:
            total: Any = fabric.all_reduce(correct.to(fabric.device), reduce_op='sum')
            correct = total.cpu()
        return scores(correct.numpy(), self._val.targets)

    def learned_nothing(self) -> str:
        """Why the run so far is no better than guessing; '' if it is better."""
        return learned_nothing(self.history, len(self._labels))


def _describe(train: ImageDataset, val: ImageDataset) -> dict[str, Any]:
    """The number of images, and a digest of their classes in order."""
    digest = hashlib.sha256(train.targets.tobytes() + val.targets.tobytes()).hexdigest()[:8]
    return {'training': len(train.targets), 'validation': len(val.targets), 'classes': digest}


def _summary(datasets: dict[str, Any]) -> str:
    return f'{datasets["training"]} and {datasets["validation"]} of classes {datasets["classes"]}'
