# SPDX-License-Identifier: Apache-2.0
"""Look at a running node: a live page for the browser, or a table in the terminal with --text.

It costs the node its debug image, and that only while a page is open.
"""

import argparse
import re
import secrets
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from functools import partial

from shufflenet_ros.cli.options import number
from shufflenet_ros.core.console import say
from shufflenet_ros.core.node_view import CameraView, NodeView, StatusView, ViewSource
from shufflenet_ros.core.text import one_line

LEVELS = ('OK', 'WARN', 'ERROR')
PERIOD_S = 1.0  # between two tables: the node's status comes that often


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add = parser.add_argument
    add('--node', default='/shufflenet', help='full name of the node (default: %(default)s)')
    add('--text', action='store_true', help='print a table instead; needs no browser and no further package')
    add('--host', default='127.0.0.1',
        help='address to listen on; others than this machine need the token (default: %(default)s)')
    add('--port', type=number(int, 0, 65535, 'a port in [0, 65535]'), default=8080,
        help='port to listen on; 0: any free one (default: %(default)s)')
    add('--token', type=_token,
        help='what the address must contain (default: a random one; none on this machine)')


def _token(text: str) -> str:
    if not re.fullmatch('[A-Za-z0-9_-]{8,200}', text):
        raise argparse.ArgumentTypeError('expected at least 8 letters, digits, - and _')
    return text


def run(args: argparse.Namespace) -> int:
    """Show until SIGINT or SIGTERM; the status is 0 then.

    Raises:
        NodeNameError: --node is not a full name.
        ServeError: the address cannot be used.
    """
    # Imported here so that --help does not need ROS, and --text not aiohttp.
    from shufflenet_ros.ros.signals import StopSignals
    signals = StopSignals()
    from shufflenet_ros.ros.observer import Observer
    if args.text:
        stop = threading.Event()
        signals.on_stop(stop.set)
        with closing(Observer(args.node, images=False)) as observer:
            _show_text(observer, stop)
    else:
        from shufflenet_ros.pages.live import LivePage, is_local
        token = args.token or ('' if is_local(args.host) else secrets.token_urlsafe(16))
        with closing(Observer(args.node, images=True)) as observer:
            page = LivePage(observer, args.host, args.port, token)
            page.run(partial(_announce, args.host, token), signals.on_stop)
    signals.ignore_signals()
    return 0


def _announce(host: str, token: str, port: int) -> None:
    """Print the address to open."""
    host = socket.gethostname() if host in ('0.0.0.0', '::') else host
    say(f'http://{f"[{host}]" if ":" in host else host}:{port}/{f"?token={token}" * bool(token)}', flush=True)


def _show_text(source: ViewSource, stop: threading.Event) -> None:
    terminal = sys.stdout.isatty()
    source.set_active(True)
    while not stop.wait(PERIOD_S):
        lines = [*text_lines(source.view()), '']
        if terminal:
            columns, rows = shutil.get_terminal_size()
            lines = [one_line(line)[:columns - 1] for line in lines[:rows - 1]]
            sys.stdout.write('\x1b[H\x1b[J')  # over the last ones
        say(*lines, flush=True)


def text_lines(view: NodeView) -> Iterator[str]:
    """The node and its cameras for a terminal."""
    status = view.status
    if status is not None:
        model = [status.values.get(key, '') for key in ('state', 'model', 'backend', 'precision')]
        yield f'{view.name}: {"  ".join(filter(None, model))}'
        yield _status(status)
    if view.silence:
        yield view.silence
    for camera in view.cameras:
        yield from _camera(camera)


def _status(status: StatusView) -> str:
    return f'[{LEVELS[status.level] if status.level < len(LEVELS) else "STALE"}] {status.message}'


def _camera(camera: CameraView) -> Iterator[str]:
    values = camera.status.values
    yield f'camera {camera.name or values.get("topic", "")}: {_status(camera.status)}'
    ages = [f'{p} {values.get(f"age_{p}_ms", "")}' for p in ('p50', 'p95', 'p99')]
    yield f'  {values.get("rate_hz", "")} Hz, age in ms: {"  ".join(ages)}'
    counts = [f'{key} {values.get(key, "")}' for key in ('received', 'published', 'superseded')]
    dropped = [f'{n} {key.removeprefix("dropped.")}' for key, n in values.items()
               if key.startswith('dropped.') and n != '0']
    yield f'  {"  ".join(counts)}  dropped: {", ".join(dropped) or "none"}'
    for name, score in camera.labels:
        yield f'  {score:6.1%} {"#" * round(20 * min(1.0, max(0.0, score))):<20} {name}'
