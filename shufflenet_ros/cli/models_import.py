"""`shufflenet-ros models import`: somebody's weights in, a bundle with card out, or a start for training.

Reads state dicts (.pth, .pt, or a zip around one) of pytorchcv, torchvision, Megvii, jaxony and mmpretrain,
and classifiers in ONNX. Nothing is approximated: what no network of ours computes exactly is refused.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shufflenet_ros.core.console import say, say_json

if TYPE_CHECKING:
    from shufflenet_ros.bundles.bundle import Bundle
    from shufflenet_ros.importers.convert import ImportedNetwork

DEFAULT_PX = 224


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument('file', type=Path, help='.pth, .pt, .pth.zip or .onnx')
    parser.add_argument('-o', '--output', type=Path, required=True,
                        help='NAME.onnx for a bundle, NAME.pt for a checkpoint to train on from')
    parser.add_argument('--layout', default='', help='of a state dict (default: recognized by its keys)')
    parser.add_argument('--name', help="the bundle's name (default: that of the output file)")
    parser.add_argument('--labels', type=Path,
                        help="class names, one a line or a JSON list (default: ImageNet's for 1000 classes)")
    parser.add_argument('--px', type=int, help=f'side of the input in pixels (default: {DEFAULT_PX})')
    for name in ('mean', 'std'):
        parser.add_argument(f'--{name}', type=float, nargs=3, metavar=('R', 'G', 'B'),
                            help='of the training, for pixels of 0 to 1 (default: that of the layout)')
    parser.add_argument('--bgr', action=argparse.BooleanOptionalAction,
                        help='the weights take blue first (default: as the layout has it)')
    parser.add_argument('--crop', type=float,
                        help='fraction of the short side that is looked at (default: 0.875 for most)')
    parser.add_argument('--data', help='what the weights were trained on')
    parser.add_argument('--terms', help='terms of that data')
    parser.add_argument('--license', help="license of the weights, never that of this code's")
    parser.add_argument('--source', help='who published the weights')


def run(args: argparse.Namespace) -> int:
    """Import, verify, write."""
    from shufflenet_ros.zoo.errors import ZooError

    if args.output.suffix not in ('.onnx', '.pt'):
        raise ZooError(f'-o {args.output}: expected a name that ends in .onnx (a bundle) or .pt (a '
                       'checkpoint to train on from)')
    _check_numbers(args)
    if args.output.exists() and args.file.exists() and args.output.samefile(args.file):
        raise ZooError(f'-o {args.output}: is the file to import; choose another name')
    imported, own, fields, report = _from_onnx(args) if args.file.suffix == '.onnx' else _from_state(args)
    _describe(args, fields)
    write = _write_bundle if args.output.suffix == '.onnx' else _write_checkpoint
    report |= write(args, imported, own, fields)
    say_json({'output': str(args.output), 'layout': imported.layout, **report})
    say(f'wrote {args.output}', to=sys.stderr)
    return 0


def _check_numbers(args: argparse.Namespace) -> None:
    from shufflenet_ros.zoo.errors import ZooError

    for name, low, high in (('px', 32, 2048), ('crop', 0.01, 1.0)):
        value = getattr(args, name)
        if value is not None and not low <= value <= high:
            raise ZooError(f'--{name} {value}: expected a number from {low} to {high}')
    if args.std and not all(0 < value <= 255 for value in args.std):
        raise ZooError(f'--std {args.std}: expected three numbers above 0, for pixels of 0 to 1')
    if args.mean and not all(-255 <= value <= 255 for value in args.mean):
        raise ZooError(f'--mean {args.mean}: expected three numbers, for pixels of 0 to 1')


# What both kinds of file give: the network, labels it has itself, the card's fields, what to report.
_Read = tuple['ImportedNetwork', tuple[str, ...], dict[str, Any], dict[str, Any]]


def _from_state(args: argparse.Namespace) -> _Read:
    from shufflenet_ros.bundles.files import read_regular, sha256_of
    from shufflenet_ros.importers.convert import convert
    from shufflenet_ros.importers.provenance import download_of
    from shufflenet_ros.importers.state_file import MAX_BYTES, state_of, unzipped

    data = read_regular(args.file, MAX_BYTES)
    content = unzipped(data, str(args.file))
    imported = convert(state_of(content, str(args.file)), args.layout, args.bgr)
    by = imported.by
    by = replace(by, mean=tuple(args.mean or by.mean), std=tuple(args.std or by.std))
    imported = replace(imported, by=by)
    fields: dict[str, Any] = {}
    origin = f'{args.file.name}, sha256 {sha256_of(data)}, layout {imported.layout}'
    if download := download_of(content):
        fields = {
            'training': {'data': 'ImageNet', 'terms': download.terms}, 'license': download.license,
            'metrics': {'published_top1_error': download.top1_error,
                        'published_top5_error': download.top5_error},
        }
        imported = replace(imported, crop=DEFAULT_PX / download.resize)
        origin = f'{download.source}, {download.url}; {origin}'
    return imported, (), fields | {'source': origin}, {}


def _from_onnx(args: argparse.Namespace) -> _Read:
    from dataclasses import asdict

    from shufflenet_ros.importers.onnx_weights import import_onnx_weights

    bundle = _bundle(args)
    card = bundle.card
    imported, agreement = import_onnx_weights(bundle)
    args.px = args.px or card.input.size[0]
    origin = f'{args.file.name}, sha256 {bundle.sha256}, read from ONNX'
    fields = {'training': dict(card.training), 'license': card.license,
              'source': f'{card.source}; {origin}' if card.source else origin}
    if card.metrics:
        fields['metrics'] = {'original': dict(card.metrics)}  # of another file than the one that is written
    return imported, card.labels, fields, {'agreement': asdict(agreement)}


def _bundle(args: argparse.Namespace) -> 'Bundle':
    """The file with its card, or with one from the options where it has none."""
    from shufflenet_ros.bundles.bundle import Bundle, find_card, open_bundle
    from shufflenet_ros.bundles.files import read_regular, sha256_of
    from shufflenet_ros.bundles.index import MAX_MODEL_BYTES
    from shufflenet_ros.bundles.onnx_file import read_facts
    from shufflenet_ros.core.card import Card, CardInput
    from shufflenet_ros.importers.onnx_graph import read_layers
    from shufflenet_ros.importers.provenance import labels_for
    from shufflenet_ros.zoo.errors import ZooError
    from shufflenet_ros.zoo.normalization import IMAGENET

    data = read_regular(args.file, MAX_MODEL_BYTES)
    facts = read_facts(data)
    if find_card(args.file, sha256_of(data), facts):
        given = [name for name in ('layout', 'mean', 'std', 'bgr') if getattr(args, name) not in (None, '')]
        if given:
            raise ZooError(f'--{given[0]}: {args.file} has a card, which says what the network takes; '
                           'correct the card instead')
        return open_bundle(str(args.file))
    layers = read_layers(data, str(args.file))
    px = args.px or layers.size[0] or DEFAULT_PX
    mean, std = tuple(args.mean or IMAGENET.mean), tuple(args.std or IMAGENET.std)
    if args.bgr:
        mean, std = mean[::-1], std[::-1]
    spec = CardInput(layout='NCHW', dtype='float32', size=(px, px), color='bgr' if args.bgr else 'rgb',
                     scale=1 / 255, mean=mean, std=std, crop=args.crop or 0.875)
    card = Card(name=args.file.stem, network='unknown', input=spec, outputs={'logits': layers.logits},
                labels=tuple(labels_for(len(layers.fc_weight), args.labels)))
    return Bundle(args.file, data, sha256_of(data), card, 'the command line', facts, trusted=False)


def _describe(args: argparse.Namespace, fields: dict[str, Any]) -> None:
    """What the user says of the weights goes before what is known of the file."""
    training = fields.get('training', {})
    training |= {key: value for key, value in (('data', args.data), ('terms', args.terms)) if value}
    fields['training'] = training
    fields['license'] = args.license or fields.get('license', '')
    if args.source:
        fields['source'] = f'{args.source}; {fields["source"]}'
    if not training.get('terms'):
        say('nothing is known of the data and terms of these weights: tell with --data, --terms, --license',
            to=sys.stderr)


def _write_bundle(args: argparse.Namespace, imported: 'ImportedNetwork', own: tuple[str, ...],
                  fields: dict[str, Any]) -> dict[str, Any]:
    from shufflenet_ros.bundles.index import renew_entry
    from shufflenet_ros.importers.provenance import labels_for
    from shufflenet_ros.zoo.errors import ZooError
    from shufflenet_ros.zoo.export import export, make_card

    if imported.missing:
        parts = ', '.join(sorted({key.split('.')[0] for key in imported.missing}))
        raise ZooError(f'{args.file}: has no {parts}: expected a whole classifier for a bundle; give '
                       f'-o {args.output.stem}.pt and train its head on your classes')
    model = imported.model
    labels = labels_for(model.fc.out_features, args.labels, own)
    px = DEFAULT_PX if args.px is None else args.px
    card = make_card(model, args.name or args.output.stem, labels, px,
                     imported.crop if args.crop is None else args.crop, **fields)
    parity = export(model, card, args.output, imported.by)
    renew_entry(args.output, card.name)
    return {'network': card.network, 'network_config': card.network_config,
            'parity_logits': parity.logits, 'parity_embedding': parity.embedding}


def _write_checkpoint(args: argparse.Namespace, imported: 'ImportedNetwork', own: tuple[str, ...],
                      fields: dict[str, Any]) -> dict[str, Any]:
    """The network's options, its tensors without those that the file lacks, and what it takes."""
    from dataclasses import asdict

    from shufflenet_ros.importers.provenance import labels_for
    from shufflenet_ros.zoo.registry import name_of, values_of
    from shufflenet_ros.zoo.saving import save_whole

    model = imported.model
    headless = bool(imported.missing)
    labels = [] if headless else labels_for(model.fc.out_features, args.labels, own)
    network = values_of(model.config)
    state = {key: value for key, value in model.state_dict().items()
             if key not in imported.missing and not (headless and key == 'last.1.num_batches_tracked')}
    save_whole(args.output, {'network': network, 'model': state, 'labels': labels,
                             'normalization': asdict(imported.by), 'card': fields})
    return {'network': name_of(model.config), 'network_config': network, 'missing': sorted(imported.missing)}
