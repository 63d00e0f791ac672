# SPDX-License-Identifier: Apache-2.0
"""Open a labeled dataset: a folder, a tar or a labeled bag."""

import os
from collections.abc import Iterator
from pathlib import Path

from shufflenet_ros.bags.kinds import is_bag
from shufflenet_ros.core.files import kind_of
from shufflenet_ros.core.reasons import DropReason, FrameError
from shufflenet_ros.datasets.class_folders import LAYOUTS, dataset_of_files
from shufflenet_ros.datasets.errors import DatasetError
from shufflenet_ros.datasets.image_files import image_message, read_image_file
from shufflenet_ros.datasets.label_file import SUFFIX
from shufflenet_ros.datasets.labeled_dataset import LabeledDataset
from shufflenet_ros.datasets.tar import TAR_SUFFIXES, is_tar, open_tar

_MAX_DEPTH = 4  # one more than the deepest layout, so that images too deep are counted


def open_dataset(path: str | Path, split: str = '') -> LabeledDataset:
    """Open a folder, a tar or a labeled bag. Links in a folder are followed.

    Args:
        split: such as val; '' means `val` if the dataset has splits, else everything.

    Raises:
        DatasetError: not a dataset, no such split, or an invalid label file.
        BagError: a damaged bag.
    """
    path = Path(path)
    if not path.exists():
        raise DatasetError(f'dataset {path} does not exist: expected a folder or tar of {LAYOUTS}, or a bag '
                           f'with <bag>{SUFFIX} beside it')
    if is_bag(path):
        from shufflenet_ros.datasets.bag import open_bag  # here, as folders and tars need no rosbags
        return open_bag(path, split)
    if path.is_dir():
        return dataset_of_files(path, sorted(_files(path, '', _MAX_DEPTH)), split,
                                lambda names: (_message(path / name) for name in names))
    if is_tar(path):
        return open_tar(path, split)
    kind = kind_of(path.stat()) or 'another file'
    raise DatasetError(f'dataset {path}: expected a folder, a file that ends in {", ".join(TAR_SUFFIXES)}, '
                       f'or a bag with <bag>{SUFFIX} beside it, got {kind}')


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
