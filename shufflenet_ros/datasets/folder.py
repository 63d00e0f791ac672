"""A folder of labeled images."""

import os
from collections.abc import Container, Iterator
from pathlib import Path

from shufflenet_ros.core.files import open_regular
from shufflenet_ros.core.reasons import FrameError, Reason
from shufflenet_ros.datasets.image_files import MAX_FILE_BYTES, labeled_image, too_large
from shufflenet_ros.datasets.sample import Sample, spread
from shufflenet_ros.datasets.tree import arrange

_MAX_DEPTH = 4  # one below the deepest form, so that images too deep are noticed


class FolderDataset:
    """`<class>/<image>` or `<split>/<class>/<image>` in a folder; links are followed."""

    def __init__(self, path: Path, split: str = ''):
        """List it.

        Raises:
            DatasetError: see `arrange`.
        """
        arranged = arrange(path, sorted(_files(path, '', _MAX_DEPTH)), split)
        self.path, self.split, self.labels = path, arranged.split, arranged.labels
        self.left_out, self.names = arranged.left_out, tuple(arranged.targets)
        self.count, self.targets = len(self.names), tuple(arranged.targets.values())

    def samples(self, limit: int = 0) -> Iterator[Sample]:
        """See LabeledDataset."""
        return self.at(spread(self.count, limit))

    def at(self, places: Container[int]) -> Iterator[Sample]:
        """See LabeledDataset."""
        for place, (file, target) in enumerate(zip(self.names, self.targets)):
            if place in places:
                yield Sample(file, target, _read(self.path / file))


def _files(folder: Path, inside: str, depth: int) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            name = f'{inside}{entry.name}'
            if not entry.is_dir():
                yield name
            elif depth > 1:
                yield from _files(folder / entry.name, f'{name}/', depth - 1)


def _read(path: Path) -> object:
    """An image's message; anything but a readable regular file is FrameError."""
    try:
        with open_regular(path) as file:
            data = file.read(MAX_FILE_BYTES + 1)
            if len(data) > MAX_FILE_BYTES:
                return too_large(os.fstat(file.fileno()).st_size)
        return labeled_image(data, path.suffix[1:])
    except OSError as error:
        return FrameError(Reason.BAD_FORMAT, f'cannot be read: {error.strerror}')
