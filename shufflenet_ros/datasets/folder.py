# SPDX-License-Identifier: Apache-2.0
"""A folder of labeled images."""

import os
from collections.abc import Container, Iterator
from pathlib import Path

from shufflenet_ros.core.reasons import DropReason, FrameError
from shufflenet_ros.datasets.class_folders import sort_by_class
from shufflenet_ros.datasets.image_files import image_message, read_image_file
from shufflenet_ros.datasets.labeled_dataset import LabeledDataset, Sample

_MAX_DEPTH = 4  # one more than the deepest layout, so that images too deep are counted


class FolderDataset(LabeledDataset):
    """`<class>/<image>` or `<split>/<class>/<image>` in a folder; links are followed."""

    def __init__(self, path: Path, split: str = ''):
        """List the files.

        Raises:
            DatasetError: see `sort_by_class`.
        """
        classes = sort_by_class(path, sorted(_files(path, '', _MAX_DEPTH)), split)
        self.path, self.split, self.labels = path, classes.split, classes.labels
        self.names, self.targets = tuple(classes.targets), tuple(classes.targets.values())
        self.left_out = classes.left_out

    def samples_at(self, indices: Container[int]) -> Iterator[Sample]:
        """See LabeledDataset."""
        for i, (name, target) in enumerate(zip(self.names, self.targets)):
            if i in indices:
                yield Sample(name, target, _message(self.path / name))


def _files(folder: Path, prefix: str, depth: int) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            name = f'{prefix}{entry.name}'
            if not entry.is_dir():
                yield name
            elif depth > 1:
                yield from _files(folder / entry.name, f'{name}/', depth - 1)


def _message(path: Path) -> object:
    try:
        data = read_image_file(path)
    except OSError as error:
        return FrameError(DropReason.BAD_FORMAT, f'cannot be read: {error.strerror}')
    return data if isinstance(data, FrameError) else image_message(data, path.suffix[1:])
