# SPDX-License-Identifier: Apache-2.0
"""Make a bundle from another project's weights, or a checkpoint to train from.

Reads state dicts (.pth, .pt, or a zip around one) of pytorchcv, torchvision, Megvii, jaxony and mmpretrain,
and classifiers in ONNX. Nothing is approximated: weights that fit none of our networks exactly are an error.
"""

import argparse
import sys
from dataclasses import fields
from pathlib import Path

from shufflenet_ros.core.console import say, say_json
from shufflenet_ros.zoo.errors import ZooError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add = parser.add_argument
    add('file', type=Path, help='.pth, .pt, .pth.zip or .onnx')
    add('-o', '--output', type=Path, required=True,
        help='NAME.onnx for a bundle, NAME.pt for a checkpoint to train from')
    add('--layout', default='', help='layout of the state dict (default: recognized by its keys)')
    add('--name', help="the bundle's name (default: that of the output file)")
    add('--labels', type=Path,
        help="class labels, one per line or a JSON list (default: ImageNet's for 1000 classes)")
    add('--px', type=int, help='side of the input in pixels (default: 224)')
    for name in ('mean', 'std'):
        add(f'--{name}', type=float, nargs=3, metavar=('R', 'G', 'B'),
            help=f'{name} used in training, for pixels from 0 to 1 (default: that of the layout)')
    add('--bgr', action=argparse.BooleanOptionalAction,
        help='the weights expect BGR input (default: that of the layout)')
    add('--crop', type=float, help='fraction of the short side to classify (default: 0.875 for most)')
    add('--data', help='what the weights were trained on')
    add('--terms', help='terms of that data')
    add('--license', help="license of the weights, not of this project's code")
    add('--source', help='who published the weights')


def run(args: argparse.Namespace) -> int:
    """Import, verify, write."""
    # Imported here so that --help does not load torch.
    from shufflenet_ros.importers.import_file import ImportOptions, read_file, write_bundle, write_checkpoint

    if args.output.suffix not in ('.onnx', '.pt'):
        raise ZooError(f'-o {args.output}: expected a name that ends in .onnx (a bundle) or .pt (a '
                       'checkpoint to train from)')
    given = {field.name: getattr(args, field.name) for field in fields(ImportOptions)}
    given |= {name: tuple(given[name]) for name in ('mean', 'std') if given[name]}
    options = ImportOptions(**given)
    if args.output.exists() and args.file.exists() and args.output.samefile(args.file):
        raise ZooError(f'-o {args.output}: this is the file to import; choose another name')
    imported = read_file(args.file, options)
    if not imported.fields['training'].get('terms'):
        say('the data and terms of these weights are unknown: state them with --data, --terms, --license',
            to=sys.stderr)
    write = write_bundle if args.output.suffix == '.onnx' else write_checkpoint
    report = imported.report | write(imported, args.output, options)
    say_json({'output': str(args.output), 'layout': imported.network.layout, **report})
    say(f'wrote {args.output}', to=sys.stderr)
    return 0
