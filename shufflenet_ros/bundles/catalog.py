# SPDX-License-Identifier: Apache-2.0
"""catalog.yaml: the published files that `models fetch` can get, and how each is checked."""

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from shufflenet_ros.bundles.errors import ModelError, mismatch
from shufflenet_ros.bundles.files import read_table
from shufflenet_ros.bundles.index import MAX_MODEL_BYTES, IndexEntry, plain_name, read_index
from shufflenet_ros.bundles.locate import cache_root
from shufflenet_ros.core.fields import (
    FieldError,
    Readers,
    choice,
    field_path,
    integer,
    invalid,
    number,
    record,
    section,
    text,
)
from shufflenet_ros.core.strict_yaml import read_yaml

_CATALOG = Path(__file__).with_name('catalog.yaml')

CHECKS = {
    'sha256': 'the full sha256, known beforehand',
    'sha256_prefix': 'the first digits of its sha256, known beforehand',
    'sha1_in_zip': 'the sha1 of the .pth inside the zip, known beforehand',
}
"""Kind of check -> what it means, for people."""

# Kind of check -> what the digits are, and how many there may be, from and to.
_DIGITS = {'sha256': ('sha256', 64, 64), 'sha256_prefix': ('a sha256 that begins with', 8, 63),
           'sha1_in_zip': ('sha1', 40, 40)}


@dataclass(frozen=True)
class Download:
    """A file that can be fetched.

    Attributes:
        name: the argument of `models fetch`.
        url: https address.
        file: file name in the cache; for a zip, the name of the .pth in it.
        check_kind, check: what is published about the file: a key of CHECKS, and the hexadecimal digits
            in lower case.
        max_size: most bytes to receive, and to unpack from a zip.
        network: name in networks.json.
        layout: names and order of the tensors; `onnx` is a bundle that runs without an import.
        resize: pixels of the short side before the centered crop of 224, for the published errors.
        top1_error, top5_error: published, ImageNet validation, percent.
        source: who publishes it.
        license: the publisher's license for the file.
        terms: terms of the training data.
        size: bytes to receive; None if not published.
    """

    name: str
    url: str
    file: str
    check_kind: str
    check: str
    max_size: int
    network: str
    layout: str
    resize: int
    top1_error: float
    top5_error: float
    source: str
    license: str
    terms: str
    size: int | None = None

    @property
    def zipped(self) -> bool:
        """Whether a zip around the file is fetched."""
        return self.check_kind == 'sha1_in_zip'

    @property
    def runs(self) -> bool:
        """Whether the file is a model that the node can load; the others must be imported first."""
        return self.layout == 'onnx'

    def check_bytes(self, data: bytes, pin: IndexEntry | None = None) -> IndexEntry:
        """Check the bytes of the file, and return their index entry.

        Args:
            pin: the entry of the first fetch. Without it, the published check decides.

        Raises:
            ModelError: they are not the expected ones.
        """
        entry = IndexEntry.of(self.file, data, self.check_kind)
        if pin and (entry.sha256, entry.size) != (pin.sha256, pin.size):
            raise self.rejected(
                f'sha256 {pin.sha256} and {pin.size} bytes, as at its first fetch',
                f'{entry.sha256} and {entry.size}',
                'the publisher has changed it; nothing was kept. If the change is intended, remove '
                f'{self.name} from the index.json of the cache and fetch it again')
        digits = hashlib.sha1(data, usedforsecurity=False).hexdigest() if self.zipped else entry.sha256
        if not pin and not digits.startswith(self.check):
            raise self.rejected(f'{_DIGITS[self.check_kind][0]} {self.check}', digits[:len(self.check)])
        return entry

    def rejected(self, expected: str, got: str, remedy: str = (
            'nothing was kept; try again, and if it fails again, tell the publisher')) -> ModelError:
        """The error of a fetch that failed."""
        return mismatch(f'{self.name} from {self.url}', expected, got, remedy)


def read_downloads(path: Path = _CATALOG) -> dict[str, Download]:
    """Name -> download, in the catalog's order.

    Raises:
        ModelError: a catalog that cannot be used; says where and why.
    """
    downloads = read_table(path, read_yaml, 'a catalog of downloads', _downloads)
    for key in ('name', 'file'):
        seen = [getattr(download, key) for download in downloads]
        if twice := sorted({value for value in seen if seen.count(value) > 1}):
            raise mismatch(str(path), f'each {key} once', f'{twice[0]!r} twice', 'restore the file')
    return {download.name: download for download in downloads}


def _downloads(table: dict[str, Any]) -> list[Download]:
    section(table, '', ('schema', 'groups'))
    return [_download(group['common'], file) for group in table['groups'] for file in group['files']]


def _download(common: dict[str, Any], file: dict[str, Any]) -> Download:
    where = str(file.get('name', 'a file without a name'))
    if both := sorted(common.keys() & file.keys()):
        raise FieldError(f'{where}: got {both[0]} in its group too, expected each field once')
    download = record(Download, common | file, where, _READERS)
    _, low, high = _DIGITS[download.check_kind]
    if not low <= len(download.check) <= high:
        raise invalid(field_path(where, 'check'), download.check, f'{low} to {high} digits')
    return download


def _https(value: Any, where: str) -> str:
    parts = urlsplit(text(value, where))
    if parts.scheme != 'https' or not parts.hostname:
        raise invalid(where, value, 'an https address')
    return str(value)


def _hexadecimal(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value or set(value) - set('0123456789abcdef'):
        raise invalid(where, value, 'hexadecimal digits in lower case, quoted')
    return value


_READERS: Readers = {
    'name': plain_name, 'file': plain_name, 'url': _https, 'check': _hexadecimal,
    'check_kind': partial(choice, choices=tuple(CHECKS)),
    **dict.fromkeys(('max_size', 'size'), partial(integer, low=1, high=MAX_MODEL_BYTES)),
    'resize': partial(integer, low=224),
    **dict.fromkeys(('top1_error', 'top5_error'), partial(number, low=0, high=100)),
    **dict.fromkeys(('network', 'layout', 'source', 'license', 'terms'), text),
}


def find_download(name: str) -> Download:
    """The download with this name.

    Raises:
        ModelError: no such name; lists all.
    """
    downloads = read_downloads()
    if name not in downloads:
        raise mismatch('download', f'one of {", ".join(downloads)}', repr(name[:100]),
                       'see `shufflenet-ros models list --kind download`')
    return downloads[name]


def cache_directory(download: Download, cache: Path | None = None) -> Path:
    """Where a download is stored: `models` if it runs, `weights` if it must be imported first."""
    return (cache or cache_root()) / ('models' if download.runs else 'weights')


def find_in_cache(download: Download) -> tuple[Path | None, IndexEntry | None]:
    """The path if the file is there (unread), and the pin of its first fetch.

    Raises:
        ModelError: the cache's index cannot be read.
    """
    folder = cache_directory(download)
    path = folder / download.file
    return path if path.is_file() else None, read_index(folder).get(download.name)
