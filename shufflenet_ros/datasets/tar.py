# SPDX-License-Identifier: Apache-2.0
"""A tar of labeled images, plain or gzip. Nothing is unpacked to disk."""

import gzip
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from shufflenet_ros.core.files import open_regular
from shufflenet_ros.core.reasons import DropReason, FrameError
from shufflenet_ros.datasets.class_folders import dataset_of_files
from shufflenet_ros.datasets.errors import DatasetError
from shufflenet_ros.datasets.image_files import MAX_FILE_BYTES, image_message, is_image_file, too_large
from shufflenet_ros.datasets.labeled_dataset import LabeledDataset

TAR_SUFFIXES = ('.tar', '.tar.gz', '.tgz')
_GZIP_MAGIC = b'\x1f\x8b'
_MAX_READ = MAX_FILE_BYTES + (1 << 20)


def is_tar(path: Path) -> bool:
    """Whether a path is a file with the name of a tar."""
    return path.is_file() and path.name.lower().endswith(TAR_SUFFIXES)


def open_tar(path: Path, split: str = '') -> LabeledDataset:
    """List the members of `<class>/<image>` or `<split>/<class>/<image>`; reads a gzipped tar to its end.

    Only regular files count. Links, devices and names with `..` are left out and counted. An image over the
    size limit is a sample without a message. If several members have one name, the last one counts, as when
    unpacking.

    Raises:
        DatasetError: damaged or hostile, or see `dataset_of_files`.
    """
    numbers: dict[str, int] = {}
    unsafe = 0
    for number, (member, _) in enumerate(_members(path)):
        name = _name(member)
        if member.isfile() and '..' not in name.split('/') and not name.startswith('/'):
            numbers.pop(name, None)  # the last one also determines the order
            numbers[name] = number
        elif not member.isdir() and is_image_file(name):
            unsafe += 1
    return dataset_of_files(path, list(numbers), split,
                            lambda names: _read(path, {numbers[name]: name for name in names}),
                            {'links and unsafe names': unsafe} if unsafe else {})


def _read(path: Path, wanted: dict[int, str]) -> Iterator[object]:
    for number, (member, tar) in enumerate(_members(path)):
        if name := wanted.pop(number, ''):
            if _name(member) != name:
                raise DatasetError(f'{path}: member {number} was {name} when the tar was opened and is '
                                   'another one now; do not change the tar while it is read')
            yield _message(tar, member)
    if wanted:
        raise DatasetError(f'{path}: {len(wanted)} members are gone since the tar was opened; do not change '
                           'the tar while it is read')


def _name(member: tarfile.TarInfo) -> str:
    return member.name.removeprefix('./')


def _message(tar: tarfile.TarFile, member: tarfile.TarInfo) -> object:
    if member.size > MAX_FILE_BYTES:
        return too_large(member.size)
    with _tar_errors(tar.name):
        stream = tar.extractfile(member)
        data = stream.read() if stream else b''
    if len(data) != member.size:
        return FrameError(DropReason.TRUNCATED, f'{len(data)} of {member.size} bytes')
    return image_message(data, member.name.rsplit('.', 1)[-1])


def _members(path: Path) -> Iterator[tuple[tarfile.TarInfo, tarfile.TarFile]]:
    with _tar_errors(path), open_regular(path) as file:
        packed = file.read(2) == _GZIP_MAGIC
        file.seek(0)
        stream = _LimitedReader(gzip.GzipFile(fileobj=file) if packed else file)
        with tarfile.open(str(path), 'r:', fileobj=cast(IO[bytes], stream)) as tar:
            count, end = 0, -1
            for member in tar:
                # A negative size would send tarfile backwards forever.
                if member.size < 0 or member.offset_data <= end:
                    raise DatasetError(f'{path}: member {count} claims {member.size} bytes; get the tar '
                                       'again')
                count, end = count + 1, member.offset_data
                yield member, tar
            if stream.last.strip(b'\0') or not stream.last:  # to tarfile, any invalid header is the end
                raise DatasetError(f'{path}: damaged or truncated after member {count}: expected another '
                                   'member, or the block of zeros that ends a tar; get it again')
            while stream.read(1 << 20):
                pass  # the checksum of gzip comes last


class _LimitedReader:
    """Limits one read: tarfile reads as many bytes at once as a header claims.

    Attributes:
        last: result of the last read.
    """

    def __init__(self, stream: IO[bytes] | gzip.GzipFile):
        self._stream = stream
        self.last = b''
        self.tell, self.seek, self.close = stream.tell, stream.seek, stream.close

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MAX_READ:
            raise DatasetError(f'a header of {size} bytes: expected at most {_MAX_READ}')
        self.last = self._stream.read(size)
        return self.last


@contextmanager
def _tar_errors(path: object) -> Iterator[None]:
    """Hostile headers make tarfile and gzip raise some ten exception classes."""
    try:
        yield
    except DatasetError as error:
        raise error if str(path) in str(error) else DatasetError(f'{path}: {error}') from error
    except Exception as error:
        reason = str(error)[:200] or type(error).__name__
        raise DatasetError(f'{path} cannot be read as a tar ({reason}): it is damaged or not a tar; expected '
                           f'{", ".join(TAR_SUFFIXES)}') from error
