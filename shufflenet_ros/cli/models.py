# SPDX-License-Identifier: Apache-2.0
"""List, show, check, fetch, import and edit model files.

  list            networks, bundles on this machine and downloads, with cost, figures and terms
  show            one of them in full
  fetch           download a file into the cache and check it
  import          make a bundle from published weights (needs the extra train)
  pack            write a bundle's variants for our own kernels (needs the extra export)
  check           everything the node does when it loads a model, first in a subprocess, and the same for each
                  variant that this machine can run; exit status 1 if the model or a variant is bad
  add-card        write a card into an ONNX file
  add-embedding   give a classifier an embedding output: the tensor before its last linear layer
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from shufflenet_ros.bundles.bundle import Bundle
from shufflenet_ros.bundles.errors import ModelError
from shufflenet_ros.bundles.listing import KINDS, Row, describe, find_row, list_rows
from shufflenet_ros.cli import models_fetch
from shufflenet_ros.cli.backend_options import add_backend_options
from shufflenet_ros.cli.model_table import table
from shufflenet_ros.core.console import say, say_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verbs of `models`."""
    verbs = parser.add_subparsers(dest='verb', required=True, metavar='VERB')

    def add(verb: str, run_verb: Callable[[argparse.Namespace], int], summary: str, *, model: str = '',
            json_lines: bool = False) -> argparse.ArgumentParser:
        sub = verbs.add_parser(verb, help=summary, description=summary)
        sub.set_defaults(run_verb=run_verb)
        if model:
            sub.add_argument('model', metavar=model, help='name of `models list`, or path of an ONNX file')
            sub.add_argument('--card', default='', metavar='FILE', required=verb == 'add-card',
                             help='card file to use instead of any other card')
        if json_lines:
            sub.add_argument('--json', action='store_true', help='one JSON object per line')
        return sub

    listing = add('list', _list, 'networks, bundles on this machine and downloads', json_lines=True)
    listing.add_argument('--kind', choices=KINDS, help='list only this kind')
    show = add('show', _show, 'a network, bundle or download in full', model='NAME_OR_PATH', json_lines=True)
    add_backend_options(show, default=None)
    models_fetch.add_arguments(add('fetch', models_fetch.run, 'download a file into the cache and check it'))
    check = add('check', _check, 'load and verify a model as the node would', model='NAME_OR_PATH',
                json_lines=True)
    check.add_argument('--sha256', default='', metavar='HEX', help='the hash that the file must have')
    add_backend_options(check, default=None)
    check.add_argument('--provider', default='cpu', help='onnxruntime provider (default: %(default)s)')
    for verb, run_verb, summary in (
            ('add-card', _add_card, 'write a card into an ONNX file'),
            ('add-embedding', _add_embedding, 'add the tensor before the last linear layer as an output')):
        sub = add(verb, run_verb, summary, model='MODEL')
        sub.add_argument('-o', '--output', required=True, type=Path, metavar='OUT', help='file to write')


def run(args: argparse.Namespace) -> int:
    """Run one verb; the exit status is 1 if `check` finds a bad model, otherwise 0.

    Raises:
        ModelError: the model cannot be used.
    """
    status: int = args.run_verb(args)
    return status


def _list(args: argparse.Namespace) -> int:
    rows = [row for row in list_rows() if args.kind in (None, row['kind'])]
    if args.json:
        for row in rows:
            say_json(row)
    else:
        say(*table(rows))
    if not rows:
        say(f'no {args.kind or "model"} found', to=sys.stderr)
    return 0


def _show(args: argparse.Namespace) -> int:
    row, bundle = find_row(args.model, args.card)
    card = None
    if bundle:
        from shufflenet_ros.backends.check import variant_states
        card = json.loads(bundle.card.to_json())
        row['variants_here'] = variant_states(bundle) or None
    if args.backend or args.precision:
        from shufflenet_ros.backends.load import load
        row['runs_on'] = load(args.model, card=args.card, backend=args.backend or 'auto',
                              precision=args.precision or 'auto').choice
    if args.json:
        say_json(row | {'card': card})
        return 0
    for key, value in (row | (card or {})).items():
        if value is not None:
            say(f'{key:<14} {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}')
    return 0


def _check(args: argparse.Namespace) -> int:
    """Check the bundle and every variant; or, with --backend or --precision, only what these choose."""
    # Here, so that the other verbs don't load onnxruntime.
    from shufflenet_ros.backends.check import (
        check_result,
        check_variants,
        describe_agreement,
        describe_variant,
    )
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
    result = check_result(loaded)
    variants = [] if chosen else check_variants(args.model, args.card, loaded)
    ok = all(variant['ok'] is not False for variant in variants)
    if args.json:
        say_json({'ok': ok} | result | {'variants': variants} | describe(loaded.bundle))
    else:
        reason = f'; {result["backend"]}, because {result["reason"]}' if chosen else ''
        say(*_summary('checked', describe(loaded.bundle)),
            f'yes: loads and runs on {result["provider"]}; {describe_agreement(result)}{reason}',
            *(f'  {describe_variant(variant)}' for variant in variants))
    return 0 if ok else 1


def _add_card(args: argparse.Namespace) -> int:
    from shufflenet_ros.backends.edit import add_card
    return _written(add_card(args.model, args.card, args.output))


def _add_embedding(args: argparse.Namespace) -> int:
    from shufflenet_ros.backends.edit import add_embedding
    return _written(add_embedding(args.model, args.card, args.output))


def _written(bundle: Bundle) -> int:
    say(*_summary('written', describe(bundle)), to=sys.stderr)
    return 0


def _summary(done: str, row: Row) -> tuple[str, ...]:
    embedding = f'embedding of {row["embedding_dim"]}' if row['embedding_dim'] else 'no embedding'
    metrics = ', '.join(f'{key} {value}' for key, value in row['metrics'].items()) or 'no metrics'
    index = 'in an index' if row['trusted'] else 'in no index'
    return (row['name'], f'  {done}, {index}: {row["path"]}',
            f'  {row["network"]}, input {row["input"]}, {row["labels"]} labels, {embedding}',
            f'  {metrics}', f'  terms: {row["terms"] or "not in the card"}')
