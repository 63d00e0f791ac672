# SPDX-License-Identifier: Apache-2.0
"""A progress bar, on a terminal and if tqdm is installed."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(total: int | None, unit: str, requested: bool) -> Iterator[Callable[[], object]]:
    """Give a function to call after each step.

    Args:
        total: number of steps, None if unknown.
        requested: show the bar even if stderr is not a terminal.

    Raises:
        ModuleNotFoundError: the bar was requested and tqdm is not installed.
    """
    bar = None
    if requested or sys.stderr.isatty():
        try:
            from tqdm import tqdm
            bar = tqdm(total=total, unit=unit, file=sys.stderr)
        except ModuleNotFoundError:
            if requested:
                raise
    if bar is None:
        yield lambda: None
        return
    with bar:
        yield bar.update
