# SPDX-License-Identifier: Apache-2.0
"""Import one file, a state dict or an ONNX classifier, and write it as a bundle or as a checkpoint."""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from shufflenet_ros.bundles.bundle import Bundle, find_card, open_bundle
from shufflenet_ros.bundles.files import read_regular, sha256_of
from shufflenet_ros.bundles.index import MAX_MODEL_BYTES, update_entry
from shufflenet_ros.bundles.onnx_file import read_summary
from shufflenet_ros.core.card import Card, CardInput
from shufflenet_ros.importers.convert import ImportedNetwork, convert
from shufflenet_ros.importers.onnx_graph import read_layers
from shufflenet_ros.importers.onnx_weights import import_onnx_weights
from shufflenet_ros.importers.provenance import download_of, labels_for
from shufflenet_ros.importers.state_file import read_content, state_of
from shufflenet_ros.zoo.errors import ZooError
from shufflenet_ros.zoo.export import export, make_card
from shufflenet_ros.zoo.normalization import IMAGENET, Normalization
from shufflenet_ros.zoo.registry import name_of, values_of
from shufflenet_ros.zoo.saving import save_state

DEFAULT_PX = 224
RGB = tuple[float, float, float]


@dataclass(frozen=True)
class ImportOptions:
    """What the user says about a file. Everything else comes from the file or its layout.

    Attributes:
        layout: of a state dict, '' to recognize it.
        labels: a file with the labels.
        px: side of the input.
        mean, std: of the training, for pixels from 0 to 1.
        bgr: the network takes BGR images.
        crop: side of the center crop as a fraction of the short side.
        data, terms, license, source: for the card.

    Raises:
        ZooError: a number out of range.
    """

    layout: str = ''
    name: str | None = None
    labels: Path | None = None
    px: int | None = None
    mean: RGB | None = None
    std: RGB | None = None
    bgr: bool | None = None
    crop: float | None = None
    data: str | None = None
    terms: str | None = None
    license: str | None = None
    source: str | None = None

    def __post_init__(self) -> None:
        for name, value, low, high in (('px', self.px, 32, 2048), ('crop', self.crop, 0.01, 1.0)):
            if value is not None and not low <= value <= high:
                raise ZooError(f'--{name} {value}: expected a number from {low} to {high}')
        if self.std and not all(0 < value <= 255 for value in self.std):
            raise ZooError(f'--std {list(self.std)}: expected three numbers above 0, for pixels of 0 to 1')
        if self.mean and not all(-255 <= value <= 255 for value in self.mean):
            raise ZooError(f'--mean {list(self.mean)}: expected three numbers, for pixels of 0 to 1')


@dataclass(frozen=True)
class ImportedFile:
    """A file's network, and what its card will say.

    Attributes:
        px: side of the input.
        labels: the file's own, if it has some.
        fields: of the card.
        report: for the user.
    """

    network: ImportedNetwork
    px: int
    labels: tuple[str, ...]
    fields: dict[str, Any]
    report: dict[str, Any] = field(default_factory=dict)


def read_file(path: Path, options: ImportOptions) -> ImportedFile:
    """Read a state dict (.pth, .pt or a zip around one) or an ONNX classifier.

    Raises:
        ModelError: the file cannot be read or run.
        ZooError: it is none of our networks.
    """
    imported = _read_onnx(path, options) if path.suffix == '.onnx' else _read_state(path, options)
    fields = imported.fields
    given = {key: value for key, value in (('data', options.data), ('terms', options.terms)) if value}
    fields['training'] = fields.get('training', {}) | given
    fields['license'] = options.license or fields.get('license', '')
    if options.source:
        fields['source'] = f'{options.source}; {fields["source"]}'
    return imported


def _read_state(path: Path, options: ImportOptions) -> ImportedFile:
    data, content = read_content(path)
    network = convert(state_of(content, str(path)), options.layout, options.bgr)
    default = network.normalization
    network = replace(network, normalization=Normalization(options.mean or default.mean,
                                                           options.std or default.std))
    fields: dict[str, Any] = {}
    origin = f'{path.name}, sha256 {sha256_of(data)}, layout {network.layout}'
    if download := download_of(content):
        fields = {
            'training': {'data': 'ImageNet', 'terms': download.terms}, 'license': download.license,
            'metrics': {'published_top1_error': download.top1_error,
                        'published_top5_error': download.top5_error},
        }
        network = replace(network, crop=DEFAULT_PX / download.resize)
        origin = f'{download.source}, {download.url}; {origin}'
    return ImportedFile(network, options.px or DEFAULT_PX, (), fields | {'source': origin})


def _read_onnx(path: Path, options: ImportOptions) -> ImportedFile:
    bundle = _bundle(path, options)
    card = bundle.card
    network, agreement = import_onnx_weights(bundle)
    origin = f'{path.name}, sha256 {bundle.sha256}, read from ONNX'
    fields = {'training': dict(card.training), 'license': card.license,
              'source': f'{card.source}; {origin}' if card.source else origin}
    if card.metrics:
        fields['metrics'] = {'original': dict(card.metrics)}  # of another file than the one to write
    return ImportedFile(network, options.px or card.input.size[0], card.labels, fields,
                        {'agreement': asdict(agreement)})


def _bundle(path: Path, options: ImportOptions) -> Bundle:
    """The file with its card, or with a new one from the options."""
    data = read_regular(path, MAX_MODEL_BYTES)
    facts = read_summary(data)
    if find_card(path, sha256_of(data), facts):
        for name in ('layout', 'mean', 'std', 'bgr'):
            if getattr(options, name) not in (None, ''):
                raise ZooError(f'--{name}: the card of {path} describes the input; correct the card instead')
        return open_bundle(str(path))
    layers = read_layers(data, str(path))
    px = options.px or layers.size[0] or DEFAULT_PX
    mean, std = options.mean or IMAGENET.mean, options.std or IMAGENET.std
    if options.bgr:
        mean, std = mean[::-1], std[::-1]
    spec = CardInput(layout='NCHW', dtype='float32', size=(px, px), color='bgr' if options.bgr else 'rgb',
                     scale=1 / 255, mean=mean, std=std, crop=options.crop or 0.875)
    card = Card(name=path.stem, network='unknown', input=spec, outputs={'logits': layers.logits},
                labels=tuple(labels_for(len(layers.fc_weight), options.labels)))
    return Bundle(path, data, sha256_of(data), card, 'the command line', facts, trusted=False)


def write_bundle(imported: ImportedFile, output: Path, options: ImportOptions) -> dict[str, Any]:
    """Write a bundle and renew its entry in the folder's index; returns what to report.

    Raises:
        ZooError: a part of the network is missing, or labels.
    """
    network = imported.network
    if network.missing:
        parts = ', '.join(sorted({key.split('.')[0] for key in network.missing}))
        raise ZooError(f'the file has no {parts}: expected a whole classifier for a bundle; give '
                       f'-o {output.stem}.pt and train its head on your classes')
    labels = labels_for(network.model.fc.out_features, options.labels, imported.labels)
    crop = network.crop if options.crop is None else options.crop
    card = make_card(network.model, options.name or output.stem, labels, imported.px, crop, **imported.fields)
    parity = export(network.model, card, output, network.normalization)
    update_entry(output, card.name)
    return {'network': card.network, 'network_config': card.network_config,
            'parity_logits': parity.logits, 'parity_embedding': parity.embedding}


def write_checkpoint(imported: ImportedFile, output: Path, options: ImportOptions) -> dict[str, Any]:
    """Write a checkpoint to train from; returns what to report."""
    network = imported.network
    headless = bool(network.missing)
    labels = [] if headless else labels_for(network.model.fc.out_features, options.labels, imported.labels)
    values = values_of(network.model.config)
    state = {key: value for key, value in network.model.state_dict().items()
             if key not in network.missing and not (headless and key == 'last.1.num_batches_tracked')}
    save_state(output, {'network': values, 'model': state, 'labels': labels,
                        'normalization': asdict(network.normalization), 'card': imported.fields})
    return {'network': name_of(network.model.config), 'network_config': values,
            'missing': sorted(network.missing)}
