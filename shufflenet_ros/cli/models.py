"""List, show, check, fetch, import and complete model files.

  list            the networks, the bundles at hand and the downloads, with cost, figures and terms
  show            one of them in full
  fetch           bring a download into the cache, checked
  import          turn somebody else's weights into a bundle (needs the extra train)
  pack            write the variants of a bundle that our own kernels run (needs the extra export)
  check           everything the node does when it loads a model, in a child process first, and the same for
                  each variant that this machine can run; status 1 says no
  add-card        write a card into an ONNX file
  add-embedding   give a classifier an embedding output: the tensor before its last linear layer
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from shufflenet_ros.backends.candidates import AUTO
from shufflenet_ros.bundles.bundle import Bundle
from shufflenet_ros.bundles.errors import ModelError
from shufflenet_ros.bundles.listing import KINDS, Row, describe, rows
from shufflenet_ros.cli import models_fetch as fetch
from shufflenet_ros.cli.backend_options import add_backend_options
from shufflenet_ros.cli.model_show import show
from shufflenet_ros.cli.model_table import table
from shufflenet_ros.core.console import say, say_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verbs below `models`."""
    verbs = parser.add_subparsers(dest='verb', required=True, metavar='VERB')

    def add(verb: str, run: Any, summary: str, *, model: str = '') -> argparse.ArgumentParser:
        sub = verbs.add_parser(verb, help=summary, description=summary)
        sub.set_defaults(run_models=run)
        if model:
            sub.add_argument('model', metavar=model, help='name of `models list`, or path of an ONNX file')
            sub.add_argument('--card', default='', metavar='FILE', help='card that goes before every other')
        return sub

    def json_option(sub: argparse.ArgumentParser) -> None:
        sub.add_argument('--json', action='store_true', help='one JSON object a line')

    listing = add('list', _list, 'the networks, the bundles at hand and the downloads')
    json_option(listing)
    listing.add_argument('--kind', choices=KINDS, help='only these')
    showing = add('show', _show, 'a network, bundle or download in full', model='NAME_OR_PATH')
    json_option(showing)
    add_backend_options(showing, default=None)
    fetch.add_arguments(add('fetch', fetch.run, 'bring a download into the cache, checked'))
    check = add('check', _check, 'load and verify a model as the node would', model='NAME_OR_PATH')
    json_option(check)
    check.add_argument('--sha256', default='', metavar='HEX', help='the hash the file must have')
    add_backend_options(check, default=None)
    check.add_argument('--provider', default='cpu', help='where to run it (default: %(default)s)')
    for verb, run, summary in (
            ('add-card', _add_card, 'write a card into an ONNX file'),
            ('add-embedding', _add_embedding, 'add the tensor before the last linear layer as an output')):
        sub = add(verb, run, summary, model='MODEL')
        sub.add_argument('-o', '--output', required=True, type=Path, metavar='OUT', help='file to write')
        if verb == 'add-card':
            sub.set_defaults(needs_card=sub)


def run(args: argparse.Namespace) -> int:
    """Run one verb; 0, or 1 where `check` says no.

    Raises:
        ModelError: the model cannot be used.
    """
    status: int = args.run_models(args)
    return status


def _list(args: argparse.Namespace) -> int:
    chosen = [row for row in rows() if args.kind in (None, row['kind'])]
    if args.json:
        for row in chosen:
            say_json(row)
    else:
        say(*table(chosen))
    if not chosen:
        say(f'there is no {args.kind or "model"} here', to=sys.stderr)
    return 0


def _lines(row: Row) -> tuple[str, ...]:
    embedding = f'embedding of {row["embedding_dim"]}' if row['embedding_dim'] else 'no embedding'
    metrics = ', '.join(f'{key} {value}' for key, value in row['metrics'].items()) or 'no metrics'
    index = 'in an index' if row['trusted'] else 'in no index'
    return (row['name'], f'  {row["place"]}, {index}: {row["path"]}',
            f'  {row["network"]}, input {row["input"]}, {row["labels"]} labels, {embedding}',
            f'  {metrics}', f'  terms: {row["terms"] or "the card names none"}')


def _show(args: argparse.Namespace) -> int:
    whole = show(args.model, args.card)
    if args.backend or args.precision:
        from shufflenet_ros.backends.load import load
        whole['runs_on'] = load(args.model, card=args.card, backend=args.backend or AUTO,
                                precision=args.precision or AUTO).choice
    if args.json:
        say_json(whole)
        return 0
    for key, value in (whole | (whole.pop('card') or {})).items():
        if value is not None:
            say(f'{key:<14} {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}')
    return 0


def _check(args: argparse.Namespace) -> int:
    """The bundle itself and every variant; or, with --backend or --precision, what these choose."""
    # Here, so that the other verbs cost no onnxruntime.
    from shufflenet_ros.backends.check import agreement, check_variants, finding, variant_line
    from shufflenet_ros.backends.load import load
    chosen = bool(args.backend or args.precision)
    try:
        loaded = load(args.model, card=args.card, sha256=args.sha256, provider=args.provider,
                      backend=args.backend or (AUTO if chosen else 'onnxruntime'),
                      precision=args.precision or (AUTO if chosen else ''))
    except ModelError as error:
        if args.json:
            say_json({'ok': False, 'cause': str(error)})
        else:
            say(f'no: {error}')
        return 1
    found = finding(loaded)
    variants = [] if chosen else check_variants(args.model, args.card, loaded)
    ok = all(variant['ok'] is not False for variant in variants)
    if args.json:
        say_json({'ok': ok} | found | {'variants': variants} | describe(loaded.bundle))
        return 0 if ok else 1
    say(*_lines({'place': 'checked'} | describe(loaded.bundle)),
        f'yes: loads and answers on {found["provider"]}; {agreement(found)}'
        + (f'; {found["backend"]}, because {found["reason"]}' if chosen else ''),
        *(f'  {variant_line(variant)}' for variant in variants))
    return 0 if ok else 1


def _add_card(args: argparse.Namespace) -> int:
    from shufflenet_ros.backends.edit import add_card
    if not args.card:
        args.needs_card.error('the following arguments are required: --card')
    return _written(add_card(args.model, args.card, args.output))


def _add_embedding(args: argparse.Namespace) -> int:
    from shufflenet_ros.backends.edit import add_embedding
    return _written(add_embedding(args.model, args.card, args.output))


def _written(bundle: Bundle) -> int:
    say(*_lines({'place': 'written'} | describe(bundle)), to=sys.stderr)
    return 0
