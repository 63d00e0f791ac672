"""A tar of labeled images, plain or gzip. Nothing of it is ever written to disk."""

import gzip
import tarfile
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from shufflenet_ros.core.files import open_regular
from shufflenet_ros.core.reasons import FrameError, Reason
from shufflenet_ros.datasets.errors import DatasetError
from shufflenet_ros.datasets.image_files import MAX_FILE_BYTES, labeled_image, too_large
from shufflenet_ros.datasets.sample import Sample, spread
from shufflenet_ros.datasets.tree import arrange, is_image_file

TAR_SUFFIXES = ('.tar', '.tar.gz', '.tgz')
_GZIP_MAGIC = b'\x1f\x8b'
_MAX_READ = MAX_FILE_BYTES + (1 << 20)


class TarDataset:
    """`<class>/<image>` or `<split>/<class>/<image>` in a tar.

    Only regular files count. Links, devices and names with `..` are left out and counted; an image above
    the size limit is a sample without a message. Of members of one name the last counts, as in unpacking.
    """

    def __init__(self, path: Path, split: str = ''):
        """List it, which reads a compressed one to its end.

        Raises:
            DatasetError: damaged or hostile, or see `arrange`.
        """
        members: dict[str, int] = {}
        strange = 0
        for number, (member, _) in enumerate(_members(path)):
            name = member.name.removeprefix('./')
            if member.isfile() and '..' not in name.split('/') and not name.startswith('/'):
                members.pop(name, None)  # the later one of a name also takes the later place
                members[name] = number
            elif not member.isdir() and is_image_file(name):
                strange += 1
        arranged = arrange(path, list(members), split)
        self.path, self.split, self.labels = path, arranged.split, arranged.labels
        self.left_out = dict(arranged.left_out)
        if strange:
            self.left_out['links and strange names'] = strange
        self.count, self.names = len(arranged.targets), tuple(arranged.targets)
        self.targets = tuple(arranged.targets.values())
        self._wanted = {members[name]: (name, target) for name, target in arranged.targets.items()}

    def samples(self, limit: int = 0) -> Iterator[Sample]:
        """See LabeledDataset."""
        return self.at(spread(self.count, limit))

    def at(self, places: Container[int]) -> Iterator[Sample]:
        """See LabeledDataset."""
        wanted = {number: item for place, (number, item) in enumerate(self._wanted.items())
                  if place in places}
        for number, (member, tar) in enumerate(_members(self.path)):
            if number not in wanted:
                continue
            name, target = wanted.pop(number)
            if member.name.removeprefix('./') != name:
                raise DatasetError(f'{self.path}: member {number} was {name} when the tar was opened and is '
                               'another now; leave it alone while it is read')
            yield Sample(name, target, _read(tar, member))
            if not wanted:
                return


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> object:
    if member.size > MAX_FILE_BYTES:
        return too_large(member.size)
    with _tar_errors(tar.name):
        stream = tar.extractfile(member)
        data = stream.read() if stream else b''
    if len(data) != member.size:
        return FrameError(Reason.TRUNCATED, f'{len(data)} of {member.size} bytes')
    return labeled_image(data, member.name.rsplit('.', 1)[-1])


def _members(path: Path) -> Iterator[tuple[tarfile.TarInfo, tarfile.TarFile]]:
    with _tar_errors(path), open_regular(path) as file:
        packed = file.read(2) == _GZIP_MAGIC
        file.seek(0)
        stream = _Guarded(gzip.GzipFile(fileobj=file) if packed else file)
        with tarfile.open(str(path), 'r:', fileobj=cast(IO[bytes], stream)) as tar:
            count, end = 0, -1
            for member in tar:
                # A negative size would send tarfile backwards, for ever.
                if member.size < 0 or member.offset_data <= end:
                    raise DatasetError(f'{path}: member {count} claims {member.size} bytes; get the tar again')
                count, end = count + 1, member.offset_data
                yield member, tar
            if stream.last.strip(b'\0') or not stream.last:  # tarfile takes whatever is no header for the end
                raise DatasetError(f'{path}: it is damaged or cut after member {count}: expected another, or the '
                               'block of zeros that ends a tar; get it again')
            while stream.read(1 << 20):
                pass  # gzip's checksum comes last


class _Guarded:
    """A file for tarfile to read, which asks for as many bytes at once as a header claims.

    Attributes:
        last: what the last read gave.
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
    """Hostile headers make tarfile and gzip raise some ten classes."""
    try:
        yield
    except DatasetError as error:
        raise error if str(path) in str(error) else DatasetError(f'{path}: {error}') from error
    except Exception as error:
        raise DatasetError(f'{path} cannot be read as a tar ({str(error)[:200] or type(error).__name__}); it is '
                       f'damaged or none: expected {", ".join(TAR_SUFFIXES)}') from error
