# SPDX-License-Identifier: Apache-2.0
"""List, show, check, fetch, import and edit model files.

  list            networks, bundles on this machine and downloads, with cost, figures and terms
  show            a network, bundle or download in full
  fetch           download a file into the cache and check it
  import          make a bundle from published weights (needs the extra train)
  pack            make native variants of a bundle (needs the extra export)
  check           load and verify a model as the node would, first in a subprocess, and each variant that this
                  machine can run; exit status 1 if the model or a variant is bad
  add-card        write a card into an ONNX file
  add-embedding   give a classifier an embedding output: the tensor before its last linear layer
"""

import argparse
import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from shufflenet_ros.bundles.catalog import CHECKS, find_download
from shufflenet_ros.bundles.errors import ModelError
from shufflenet_ros.bundles.fetch import fetch
from shufflenet_ros.bundles.listing import KINDS, Row, describe, find_row, list_rows
from shufflenet_ros.cli.options import add_backend_options
from shufflenet_ros.cli.tables import model_table
from shufflenet_ros.core.console import say, say_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verbs of `models`."""
    verbs = parser.add_subparsers(dest='verb', required=True, metavar='VERB')

    def add(verb: str, run_verb: Callable[[argparse.Namespace], int], summary: str, model: str = ''
            ) -> argparse.ArgumentParser:
        sub = verbs.add_parser(verb, help=summary, description=summary)
        sub.set_defaults(run_verb=run_verb)
        if model:
            sub.add_argument('model', metavar=model, help='name of `models list`, or path of an ONNX file')
            sub.add_argument('--card', default='', metavar='FILE', required=verb == 'add-card',
                             help='card file to use instead of any other card')
        return sub

    listing = add('list', _list, 'networks, bundles on this machine and downloads')
    listing.add_argument('--kind', choices=KINDS, help='list only this kind')
    showing = add('show', _show, 'a network, bundle or download in full', 'NAME_OR_PATH')
    add_backend_options(showing)
    fetching = add('fetch', _fetch, 'download a file into the cache and check it')
    fetching.add_argument('name', metavar='NAME', help='a name from `models list --kind download`')
    checking = add('check', _check, 'load and verify a model as the node would', 'NAME_OR_PATH')
    checking.add_argument('--sha256', default='', metavar='HEX', help='the hash that the file must have')
    add_backend_options(checking)
    checking.add_argument('--provider', default='cpu', help='onnxruntime provider (default: %(default)s)')
    for sub in (listing, showing, fetching, checking):
        sub.add_argument('--json', action='store_true', help='one JSON object per line')
    for verb, summary in (('add-card', 'write a card into an ONNX file'),
                          ('add-embedding', 'add the tensor before the last linear layer as an output')):
        sub = add(verb, _edit, summary, 'MODEL')
        sub.add_argument('-o', '--output', required=True, type=Path, metavar='OUT', help='file to write')


def run(args: argparse.Namespace) -> int:
    """Run one verb; the exit status is 1 if `check` finds a bad model, otherwise 0.

    Raises:
        ModelError: the model cannot be used.
        WriteError: a file cannot be written.
    """
    status: int = args.run_verb(args)
    return status


def _list(args: argparse.Namespace) -> int:
    rows = [row for row in list_rows() if args.kind in (None, row['kind'])]
    if args.json:
        for row in rows:
            say_json(row)
    else:
        say(*model_table(rows))
    if not rows:
        say(f'no {args.kind or "model"} found', to=sys.stderr)
    return 0


def _show(args: argparse.Namespace) -> int:
    # `backends` is imported where it is needed: it would slow down `list`.
    from shufflenet_ros.backends.check import variant_states
    from shufflenet_ros.backends.load import load

    row, bundle = find_row(args.model, args.card)
    card = None
    if bundle:
        card = json.loads(bundle.card.to_json())
        row['variants_here'] = variant_states(bundle) or None
    if args.backend or args.precision:
        row['runs_on'] = load(args.model, card=args.card, backend=args.backend or 'auto',
                              precision=args.precision or 'auto').choice
    if args.json:
        say_json(row | {'card': card})
        return 0
    for key, value in (row | (card or {})).items():
        if value is not None:
            say(f'{key:<14} {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}')
    return 0


def _fetch(args: argparse.Namespace) -> int:
    """Fetch one file and print the next command."""
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


def _check(args: argparse.Namespace) -> int:
    """Check the bundle and every variant; or, with --backend or --precision, only what these choose."""
    from shufflenet_ros.backends import check
    from shufflenet_ros.backends.load import load

    chosen = bool(args.backend or args.precision)
    backend, precision = ('auto', 'auto') if chosen else ('onnxruntime', '')
    try:
        loaded = load(args.model, card=args.card, sha256=args.sha256, provider=args.provider,
                      backend=args.backend or backend, precision=args.precision or precision)
    except ModelError as error:
        if args.json:
            say_json({'ok': False, 'cause': str(error)})
        else:
            say(f'no: {error}')
        return 1
    result = check.check_result(loaded)
    variants = [] if chosen else check.check_variants(args.model, args.card, loaded)
    ok = all(variant['ok'] is not False for variant in variants)
    if args.json:
        say_json({'ok': ok} | result | {'variants': variants} | describe(loaded.bundle))
    else:
        reason = f'; {result["backend"]}, because {result["reason"]}' if chosen else ''
        say(*_summary('checked', describe(loaded.bundle)),
            f'yes: loads and runs on {result["provider"]}; {check.describe_agreement(result)}{reason}',
            *(f'  {check.describe_variant(variant)}' for variant in variants))
    return 0 if ok else 1


def _edit(args: argparse.Namespace) -> int:
    from shufflenet_ros.backends.edit import add_card, add_embedding

    edit = add_card if args.verb == 'add-card' else add_embedding
    say(*_summary('written', describe(edit(args.model, args.card, args.output))), to=sys.stderr)
    return 0


def _summary(done: str, row: Row) -> tuple[str, ...]:
    embedding = f'embedding of {row["embedding_dim"]}' if row['embedding_dim'] else 'no embedding'
    metrics = ', '.join(f'{key} {value}' for key, value in row['metrics'].items()) or 'no metrics'
    index = 'in an index' if row['trusted'] else 'in no index'
    return (row['name'], f'  {done}, {index}: {row["path"]}',
            f'  {row["network"]}, input {row["input"]}, {row["labels"]} labels, {embedding}',
            f'  {metrics}', f'  terms: {row["terms"] or "not in the card"}')
