# SPDX-License-Identifier: Apache-2.0
"""Shared by the verbs: options that choose a model, checks of numbers, a progress bar."""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from shufflenet_ros.bundles.locate import DEFAULT_MODEL
from shufflenet_ros.bundles.variants import AUTO, BACKENDS, MAX_ACCURACY_LOSS, PRECISIONS

if TYPE_CHECKING:
    from shufflenet_ros.datasets.sources import Source, SourceFrame


def add_model_options(parser: argparse.ArgumentParser, of: str = 'the model', precision: str = '') -> None:
    """Declare --model, --card, --backend and --precision, which `backends.load.load` takes.

    Args:
        of, precision: see `add_backend_options`.
    """
    add = parser.add_argument
    add('--model', default=DEFAULT_MODEL, help='name or path of a bundle or ONNX file (default: %(default)s)')
    add('--card', default='', metavar='FILE', help='card file for an ONNX file without a card')
    add_backend_options(parser, AUTO, of, precision)


def add_backend_options(parser: argparse.ArgumentParser, default: str | None = None, of: str = 'the model',
                        precision: str = '') -> None:
    """Declare --backend and --precision.

    Args:
        default: default of --backend; None if the verb does something else without it.
        of: the model that they are for, as the help names it.
        precision: default of --precision; '' for the precision of the bundle's own graph.
    """
    usual = precision or "the bundle's own"
    parser.add_argument('--backend', choices=BACKENDS, default=default,
                        help=f'backend for {of}; auto: the fastest on this machine')
    parser.add_argument('--precision', choices=(AUTO, *PRECISIONS), default=precision,
                        help='variant of the bundle to run; auto: the fastest that loses at most '
                             f'{MAX_ACCURACY_LOSS:g} points of top-1, as in the node (default: {usual})')


def number(kind: type[int] | type[float], low: float, high: float, expected: str
           ) -> Callable[[str], int | float]:
    """The type of an option whose value is a number in [low, high]; the error says what was expected."""
    def parse(text: str) -> int | float:
        try:
            value = kind(text)
            if low <= value <= high:
                return value
        except ValueError:
            pass
        raise argparse.ArgumentTypeError(f'{text!r}: expected {expected}')
    return parse


@contextmanager
def progress(total: int | None, unit: str, requested: bool) -> Iterator[Callable[[], object]]:
    """A progress bar, on a terminal or if requested. Yields a function to call after each step.

    Args:
        total: number of steps, None if unknown.

    Raises:
        ModuleNotFoundError: the bar was requested and tqdm is not installed.
    """
    if requested or sys.stderr.isatty():
        try:
            from tqdm import tqdm
        except ModuleNotFoundError:
            if requested:
                raise
        else:
            with tqdm(total=total, unit=unit, file=sys.stderr) as bar:
                yield bar.update
            return
    yield lambda: None


def read_frames(sources: Sequence['Source'], bar: bool) -> Iterator['SourceFrame']:
    """Every frame of every source; see `progress` for the bar."""
    counts = [source.count for source in sources]
    total = None if None in counts else sum(count or 0 for count in counts)
    with progress(total, 'frame', bar) as advance:
        for source in sources:
            for frame in source.frames():
                yield frame
                advance()
