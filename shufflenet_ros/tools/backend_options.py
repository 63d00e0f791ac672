"""The options of every verb that runs a model."""

import argparse

from shufflenet_ros.backends.variants import BACKENDS, PRECISIONS


def add_backend_options(parser: argparse.ArgumentParser, default: str | None = 'auto', of: str = '') -> None:
    """Declare --backend and --precision, which `backends.open.load` takes.

    Args:
        default: of --backend; None where a verb does something else without it.
        of: which model they are for.
    """
    parser.add_argument('--backend', choices=BACKENDS, default=default,
                        help=f'what runs {of or "the model"}; auto: native kernels where they can')
    parser.add_argument('--precision', choices=PRECISIONS, default='',
                        help="which variant of the bundle runs (default: the bundle's own precision)")
