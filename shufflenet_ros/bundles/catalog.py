"""catalog.yaml: the files of other people that `models fetch` can get, and how each is checked."""

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from shufflenet_ros.bundles.errors import ModelError, mismatch
from shufflenet_ros.bundles.files import read_regular
from shufflenet_ros.bundles.index import NAME, IndexEntry, read_index
from shufflenet_ros.bundles.locate import cache_root
from shufflenet_ros.core.strict_yaml import read_yaml

SCHEMA = 1
MAX_TABLE_BYTES = 1 << 20
_TABLE = Path(__file__).with_name('catalog.yaml')

CheckKind = Literal['sha256', 'sha256_prefix', 'sha1_in_zip']

CHECKS = {
    'sha256': 'the full sha256, known beforehand',
    'sha256_prefix': 'the first digits of its sha256, known beforehand',
    'sha1_in_zip': 'the sha1 of the .pth inside the zip, known beforehand',
}
"""Kind of check -> what it says, for people."""

_DIGITS = {'sha256': (64, 64), 'sha256_prefix': (8, 63), 'sha1_in_zip': (40, 40)}


@dataclass(frozen=True)
class Download:
    """A file that can be fetched.

    Attributes:
        name: what `models fetch` takes.
        url: https address.
        file: its name in the cache; for a zip that of the .pth inside.
        check_kind, check: what is known of the kept file beforehand: its sha256, the first digits of
            it, or its sha1, in lower-case hexadecimal digits.
        max_size: upper limit in bytes, of what travels and of what a zip holds.
        network: name in networks.json.
        layout: how its tensors are named and ordered; `onnx` is a bundle that runs as it is.
        resize: pixels of the short side before the centered crop of 224 behind the errors.
        top1_error, top5_error: published, ImageNet validation, percent.
        source: who publishes it.
        license: of the file, as its publisher says.
        terms: of the data that it was trained on.
        size: bytes that travel, None where nobody published it.
    """

    name: str
    url: str
    file: str
    check_kind: CheckKind
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
        """Whether what travels is a zip around the file."""
        return self.check_kind == 'sha1_in_zip'

    @property
    def runs(self) -> bool:
        """Whether the file is a model that the node can load; the others must be imported first."""
        return self.layout == 'onnx'

    def verify(self, sha256: str, sha1: str) -> None:
        """Hold the hashes of the file that is to be kept to what is known of it.

        Raises:
            ModelError: they differ.
        """
        got = sha1 if self.zipped else sha256[:len(self.check)]
        if got != self.check:
            kind = {'sha256': 'sha256', 'sha256_prefix': 'a sha256 that begins with',
                    'sha1_in_zip': 'sha1'}[self.check_kind]
            raise mismatch(f'{self.name} from {self.url}', f'{kind} {self.check}', got,
                           'nothing was kept; try again, and if it stays so, tell the publisher')


def file_hashes(path: Path) -> tuple[str, str, int]:
    """sha256, sha1 and size in bytes of a file of any length.

    Raises:
        OSError: it cannot be read.
    """
    sha256, sha1, size = hashlib.sha256(), hashlib.sha1(usedforsecurity=False), 0
    with path.open('rb') as file:
        while block := file.read(1 << 20):
            sha256.update(block)
            sha1.update(block)
            size += len(block)
    return sha256.hexdigest(), sha1.hexdigest(), size


def read_downloads(path: Path = _TABLE) -> dict[str, Download]:
    """Name -> download, in the table's order.

    Raises:
        ModelError: a table that cannot be used; says where and why.
    """
    try:
        values = read_yaml(read_regular(path, MAX_TABLE_BYTES))
        if type(values['schema']) is not int or values['schema'] != SCHEMA:
            raise mismatch(str(path), f'schema {SCHEMA}', str(values['schema']), 'use a newer shufflenet_ros')
        rows = [_row(path, group['common'], file) for group in values['groups'] for file in group['files']]
    except ModelError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise mismatch(str(path), 'a table of downloads', f'something else ({error})',
                       'restore the file') from error
    for key in ('name', 'file'):
        seen = [getattr(row, key) for row in rows]
        if twice := sorted({value for value in seen if seen.count(value) > 1}):
            raise mismatch(str(path), f'each {key} once', f'{twice[0]!r} twice', 'restore the file')
    return {row.name: row for row in rows}


def find_download(name: str) -> Download:
    """The download of a name.

    Raises:
        ModelError: there is none; says which there are.
    """
    table = read_downloads()
    if name not in table:
        raise mismatch('download', f'one of {", ".join(table)}', repr(name[:100]),
                       'see `shufflenet-ros models list --kind download`')
    return table[name]


def folder_of(download: Download, cache: Path | None = None) -> Path:
    """Where a download is kept: `models` for what runs, `weights` for what must be imported first."""
    return (cache or cache_root()) / ('models' if download.runs else 'weights')


def in_cache(download: Download) -> tuple[Path | None, IndexEntry | None]:
    """The file where it is there, unread, and the pin of its first fetch.

    Raises:
        ModelError: the cache's index cannot be read.
    """
    folder = folder_of(download)
    path = folder / download.file
    return path if path.is_file() else None, read_index(folder).get(download.name)


def _row(path: Path, common: dict[str, Any], file: dict[str, Any]) -> Download:
    where = f'{path}: {file.get("name", "a file without a name")}'
    if both := sorted(common.keys() & file.keys()):
        raise mismatch(where, 'each field once', f'{both[0]} in its group too', 'restore the file')
    values = common | file
    known = {field.name for field in fields(Download)}
    if values.keys() != known:
        raise mismatch(where, f'the fields {", ".join(sorted(known))}', ', '.join(sorted(values)),
                       'restore the file')
    for key, (good, expected) in _RULES.items():
        if not good(values[key]):
            raise mismatch(f'{where}: {key}', expected, repr(values[key])[:120], 'restore the file')
    low, high = _DIGITS[values['check_kind']]
    if not low <= len(values['check']) <= high:
        raise mismatch(f'{where}: check', f'{low} to {high} digits', str(len(values['check'])),
                       'restore the file')
    return Download(**values)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and NAME.fullmatch(value) is not None


def _is_https(value: Any) -> bool:
    return isinstance(value, str) and urlsplit(value).scheme == 'https' and bool(urlsplit(value).hostname)


def _is_hex(value: Any) -> bool:
    return isinstance(value, str) and bool(value) and not set(value) - set('0123456789abcdef')


def _is_bytes(value: Any) -> bool:
    return type(value) is int and 0 < value <= 1 << 30


def _is_percent(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 100


_RULES = {
    'name': (_is_name, 'a plain name'),
    'file': (_is_name, 'a plain file name'),
    'url': (_is_https, 'an https address'),
    'check_kind': (lambda value: value in CHECKS, f'one of {", ".join(CHECKS)}'),
    'check': (_is_hex, 'lower-case hexadecimal digits, quoted'),
    'size': (lambda value: value is None or _is_bytes(value), 'bytes or null'),
    'max_size': (_is_bytes, 'bytes, at most 1 GiB'),
    'resize': (lambda value: type(value) is int and value >= 224, 'pixels, at least 224'),
    'top1_error': (_is_percent, 'percent'),
    'top5_error': (_is_percent, 'percent'),
} | dict.fromkeys(('network', 'layout', 'source', 'license', 'terms'), (_is_text, 'a text'))
