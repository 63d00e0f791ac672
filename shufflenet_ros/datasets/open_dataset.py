# SPDX-License-Identifier: Apache-2.0
"""Open a labeled dataset of any kind."""

from pathlib import Path

from shufflenet_ros.bags.kinds import is_bag
from shufflenet_ros.core.files import kind_of
from shufflenet_ros.datasets.class_folders import LAYOUTS
from shufflenet_ros.datasets.errors import DatasetError
from shufflenet_ros.datasets.folder import FolderDataset
from shufflenet_ros.datasets.label_file import SUFFIX
from shufflenet_ros.datasets.labeled_dataset import LabeledDataset
from shufflenet_ros.datasets.tar import TAR_SUFFIXES, TarDataset


def open_dataset(path: str | Path, split: str = '') -> LabeledDataset:
    """Open a folder, a tar or a labeled bag.

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
        from shufflenet_ros.datasets.bag import BagDataset  # here, as folders and tars need no rosbags
        return BagDataset(path, split)
    if path.is_dir():
        return FolderDataset(path, split)
    if path.is_file() and path.name.lower().endswith(TAR_SUFFIXES):
        return TarDataset(path, split)
    kind = kind_of(path.stat()) or 'another file'
    raise DatasetError(f'dataset {path}: expected a folder, a file that ends in {", ".join(TAR_SUFFIXES)}, '
                       f'or a bag with <bag>{SUFFIX} beside it, got {kind}')
