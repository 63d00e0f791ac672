# SPDX-License-Identifier: Apache-2.0
"""`models fetch`: download a published file into this machine's cache."""

import argparse
import shlex
import sys
from dataclasses import asdict

from shufflenet_ros.bundles.catalog import CHECKS, find_download
from shufflenet_ros.bundles.fetch import fetch
from shufflenet_ros.core.console import say, say_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument('name', metavar='NAME', help='a name from `models list --kind download`')
    parser.add_argument('--json', action='store_true', help='print one JSON object')


def run(args: argparse.Namespace) -> int:
    """Fetch one file and print the next command.

    Raises:
        ModelError, WriteError: see `bundles.fetch.fetch`.
    """
    download = find_download(args.name)
    fetched = fetch(download, report=lambda text: say(text, to=sys.stderr))
    path, entry = fetched.path, fetched.entry
    if args.json:
        say_json({'name': download.name, 'path': str(path), 'fresh': fetched.fresh, **asdict(entry)})
        return 0
    import_command = f'shufflenet-ros models import {shlex.quote(str(path))} -o {download.name}.onnx'
    say(f'{path}: {"fetched" if fetched.fresh else "already there"}, {entry.size} bytes, checked against '
        f'{CHECKS[download.check_kind]}', f'terms: {download.terms}',
        f'next: {f"run it with model:={download.name}" if download.runs else import_command}')
    return 0
