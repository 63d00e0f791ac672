"""List, show, check and complete model files.

  list            the bundles at hand, and where they lie
  show            one model's card in full
  check           everything the node does when it loads a model, in a child process first; status 1 says no
  add-card        write a card into an ONNX file
  add-embedding   give a classifier an embedding output: the tensor before its last linear layer
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from shufflenet_ros.backends.bundle import Bundle, open_bundle
from shufflenet_ros.backends.errors import ModelError
from shufflenet_ros.backends.locate import Place, models_of, places


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

    json_option(add('list', _list, 'the bundles at hand'))
    json_option(add('show', _show, "one model's card in full", model='NAME_OR_PATH'))
    check = add('check', _check, 'load and prove a model as the node would', model='NAME_OR_PATH')
    json_option(check)
    check.add_argument('--sha256', default='', metavar='HEX', help='the hash the file must have')
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
    rows = [row for place in places() for row in _rows(place)]
    for row in rows:
        print(json.dumps(row, ensure_ascii=False) if args.json else _line(row))
    if not rows:
        looked = ', '.join(f'{place.folder} ({place.kind})' for place in places())
        print(f'no models in {looked}', file=sys.stderr)
    return 0


def _rows(place: Place) -> list[dict[str, Any]]:
    try:
        return [_row(place.kind, str(found.path)) for found in models_of(place).values()]
    except ModelError as error:
        return [{'place': place.kind, 'path': str(place.folder), 'error': str(error)}]


def _row(place: str, path: str) -> dict[str, Any]:
    """What `list` says of a file; one that cannot be opened says why."""
    try:
        return {'place': place, **describe(open_bundle(path))}
    except ModelError as error:
        return {'place': place, 'path': path, 'error': str(error)}


def describe(bundle: Bundle) -> dict[str, Any]:
    """A bundle in a few values, for people and for JSON."""
    card = bundle.card
    dim = card.embedding.get('dim') if 'embedding' in card.outputs else None
    return {
        'name': card.name, 'path': str(bundle.path), 'sha256': bundle.sha256, 'size': len(bundle.data),
        'trusted': bundle.trusted, 'card_from': bundle.card_from, 'network': card.network,
        'input': f'{card.input.layout} {card.input.dtype} {card.input.size[0]}x{card.input.size[1]}',
        'labels': len(card.labels), 'embedding_dim': dim,
        'metrics': dict(card.metrics), 'terms': card.training.get('terms', ''), 'license': card.license,
        'ir_version': bundle.facts.ir_version, 'opsets': dict(bundle.facts.opsets),
    }


def _line(row: dict[str, Any]) -> str:
    if 'error' in row:
        return f'{row["path"]}\n  cannot be used: {row["error"]}'
    embedding = f'embedding of {row["embedding_dim"]}' if row['embedding_dim'] else 'no embedding'
    metrics = ', '.join(f'{key} {value}' for key, value in row['metrics'].items()) or 'no metrics'
    index = 'in an index' if row['trusted'] else 'in no index'
    return (f'{row["name"]}\n  {row["place"]}, {index}: {row["path"]}\n'
            f'  {row["network"]}, input {row["input"]}, {row["labels"]} labels, {embedding}\n'
            f'  {metrics}\n  terms: {row["terms"] or "the card names none"}')


def _show(args: argparse.Namespace) -> int:
    bundle = open_bundle(args.model, args.card)
    whole = describe(bundle) | {'card': json.loads(bundle.card.to_json())}
    if args.json:
        print(json.dumps(whole, ensure_ascii=False))
        return 0
    for key, value in (whole | whole.pop('card')).items():
        shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        print(f'{key:<14} {shown}')
    return 0


def _check(args: argparse.Namespace) -> int:
    # Here, so that the other verbs cost no onnxruntime.
    from shufflenet_ros.backends.open import load
    from shufflenet_ros.backends.prove import golden_error
    try:
        loaded = load(args.model, card=args.card, sha256=args.sha256, provider=args.provider)
    except ModelError as error:
        print(json.dumps({'ok': False, 'cause': str(error)}) if args.json else f'no: {error}')
        return 1
    golden = golden_error(loaded.backend, loaded.card) if loaded.card.golden else None
    if args.json:
        extra = {'ok': True, 'provider': loaded.backend.provider, 'golden_error': golden}
        print(json.dumps(extra | describe(loaded.bundle), ensure_ascii=False))
        return 0
    print(_line({'place': 'checked'} | describe(loaded.bundle)))
    print(f'yes: loads and answers on {loaded.backend.provider}; '
          + ('the card has no golden sample' if golden is None else f'golden logits within {golden:.2g}'))
    return 0


def _add_card(args: argparse.Namespace) -> int:
    from shufflenet_ros.tools.model_edit import add_card
    if not args.card:
        args.needs_card.error('the following arguments are required: --card')
    return _written(add_card(args.model, args.card, args.output))


def _add_embedding(args: argparse.Namespace) -> int:
    from shufflenet_ros.tools.model_edit import add_embedding
    return _written(add_embedding(args.model, args.card, args.output))


def _written(bundle: Bundle) -> int:
    print(_line({'place': 'written'} | describe(bundle)), file=sys.stderr)
    return 0
