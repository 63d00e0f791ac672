# SPDX-License-Identifier: Apache-2.0
"""The options of every verb that runs a model."""

import argparse

from shufflenet_ros.bundles.variants import AUTO, BACKENDS, MAX_ACCURACY_LOSS, PRECISIONS


def add_backend_options(parser: argparse.ArgumentParser, default: str | None = 'auto', of: str = 'the model',
                        precision: str = '') -> None:
    """Declare --backend and --precision, which `backends.load.load` takes.

    Args:
        default: of --backend; None if the verb does something else without it.
        of: which model they are for.
        precision: default of --precision; '' for that of the bundle's own graph.
    """
    parser.add_argument('--backend', choices=BACKENDS, default=default,
                        help=f'what runs {of}; auto: the fastest on this machine')
    parser.add_argument('--precision', choices=(AUTO, *PRECISIONS), default=precision,
                        help='variant of the bundle to run; auto: the fastest that loses at most '
                             f'{MAX_ACCURACY_LOSS:g} points of top-1, as in the node (default: '
                             f'{precision or "that of the bundle itself"})')
