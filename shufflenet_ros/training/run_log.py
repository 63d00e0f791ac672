# SPDX-License-Identifier: Apache-2.0
"""The reports of a run: progress with the time left, a log, TensorBoard, curves."""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from shufflenet_ros.core.console import say
from shufflenet_ros.core.files import replacing, write_whole
from shufflenet_ros.training.recipe import Recipe

_SECONDS_BETWEEN_LINES = 30  # if stderr is a file, not a terminal
_SECONDS_BETWEEN_PLOTS = 60


class RunLog:
    """The reports of one run; if several processes share it, only the first one reports.

    log.jsonl has one line per epoch. It is rewritten from the checkpoint's history, so an interruption
    neither loses nor repeats a line. The curves are plotted once a minute, and whenever the run stops.
    """

    def __init__(self, out: Path, recipe: Recipe, steps: int, history: Sequence[dict[str, Any]], step: int):
        """Open the files, and bring the log up to date: a killed run may have saved an epoch without it.

        Args:
            steps: in an epoch.
            history: one line for each finished epoch.
            step: number of steps done in the next epoch.
        """
        epoch = len(history)
        # Epochs of smaller images are faster: count work in pixels, so that the time left is right.
        work = [steps * recipe.px_at(e)**2 for e in range(recipe.epochs)]
        self._out, self._recipe, self._steps = out, recipe, steps
        self._bar = tqdm(
            total=sum(work), initial=sum(work[:epoch]) + step * recipe.px_at(epoch)**2, file=sys.stderr,
            mininterval=0.5 if sys.stderr.isatty() else _SECONDS_BETWEEN_LINES,
            bar_format='{desc} {percentage:.1f}% of the run, {elapsed} elapsed, {remaining} left{postfix}')
        self._tensorboard = _tensorboard_writer(out, epoch * steps + step)
        self._plotted = time.monotonic()
        self._history: Sequence[dict[str, Any]] = []
        if history:
            self._write_log(history)

    def _write_log(self, history: Sequence[dict[str, Any]]) -> None:
        self._history = history
        write_whole(self._out / 'log.jsonl', ''.join(json.dumps(line) + '\n' for line in history).encode())

    def step(self, epoch: int, step: int, loss: float, mean: float, rate: float) -> None:
        """Report a step; `mean` is the mean loss of this epoch so far."""
        self._bar.set_postfix_str(f'loss {mean:.3f}', refresh=False)
        self._bar.set_description_str(f'epoch {epoch + 1}/{self._recipe.epochs}', refresh=False)
        self._bar.update(self._recipe.px_at(epoch)**2)
        if self._tensorboard and step % 10 == 0:
            total = epoch * self._steps + step
            self._tensorboard.add_scalar('loss', loss, total)
            self._tensorboard.add_scalar('learning_rate', rate, total)

    def epoch(self, history: Sequence[dict[str, Any]]) -> None:
        """Report an epoch: its line in the log, and once a minute the curves."""
        self._write_log(history)
        last = history[-1]
        self._bar.write(json.dumps(last), file=sys.stderr)
        if self._tensorboard:
            for key in ('val_top1', 'val_top5'):
                self._tensorboard.add_scalar(key, last[key], last['epoch'] * self._steps)
        if time.monotonic() - self._plotted > _SECONDS_BETWEEN_PLOTS:
            self._plot()

    def _plot(self) -> None:
        plot_curves(self._history, self._recipe.name, self._out / 'curves.png')
        self._plotted = time.monotonic()

    def close(self) -> None:
        """Flush everything, and plot the curves a last time."""
        self._bar.close()
        if self._tensorboard:
            self._tensorboard.close()
        if self._history:
            self._plot()


def _tensorboard_writer(out: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError:
        say('no TensorBoard files: pip install tensorboard', to=sys.stderr)
        return None
    return SummaryWriter(str(out / 'tensorboard'), purge_step=step)


def plot_curves(history: Sequence[dict[str, Any]], title: str, path: Path) -> None:
    """Plot loss and validation accuracy over the epochs; without matplotlib, do nothing."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        say('no curves.png: pip install matplotlib', to=sys.stderr)
        return
    figure = Figure(figsize=(8, 3.2), layout='constrained')
    FigureCanvasAgg(figure)
    loss, top = figure.subplots(1, 2)
    epochs = [line['epoch'] for line in history]
    loss.plot(epochs, [line['loss'] for line in history], '.-', color='#333333')
    loss.set_title('training loss')
    for key, name, color in (('val_top1', 'top-1', '#0b6e99'), ('val_top5', 'top-5', '#c77700')):
        top.plot(epochs, [100 * line[key] for line in history], '.-', color=color, label=name)
    top.set_title('validation accuracy, %')
    top.legend(frameon=False)
    for axes in (loss, top):
        axes.set_xlabel('epoch')
        axes.grid(alpha=0.3)
    figure.suptitle(title, fontsize=9)
    with replacing(path) as draft:
        figure.savefig(draft, dpi=120)
