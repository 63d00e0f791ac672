"""A progress bar, where somebody looks and tqdm is there."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(total: int | None, unit: str, asked: bool) -> Iterator[Callable[[], object]]:
    """Give what to call after each step.

    Args:
        total: steps, None where nobody knows.
        asked: show the bar even where stderr is no terminal.

    Raises:
        ModuleNotFoundError: the bar was asked for and tqdm is absent; on a terminal there is no bar then.
    """
    if not asked and not sys.stderr.isatty():
        yield lambda: None
        return
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        if asked:
            raise
        yield lambda: None
        return
    with tqdm(total=total, unit=unit, file=sys.stderr) as bar:
        yield bar.update
