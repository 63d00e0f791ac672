"""From a path to its labeled images, whatever they lie in."""

from pathlib import Path

from shufflenet_ros.bags.kinds import is_bag
from shufflenet_ros.core.files import kind_of
from shufflenet_ros.datasets.errors import DatasetError
from shufflenet_ros.datasets.folder import FolderDataset
from shufflenet_ros.datasets.label_file import SUFFIX
from shufflenet_ros.datasets.sample import LabeledDataset
from shufflenet_ros.datasets.tar import TAR_SUFFIXES, TarDataset
from shufflenet_ros.datasets.tree import FORMS


def open_set(path: str | Path, split: str = '') -> LabeledDataset:
    """Open a folder, a tar or a labeled bag.

    Args:
        split: such as val; '' takes `val` where the set has splits, everything where it has none.

    Raises:
        DatasetError: no set, one without such a split, or a wrong label file.
        BagError: a damaged bag.
    """
    path = Path(path)
    if not path.exists():
        raise DatasetError(f'set {path} does not exist: give a folder or tar of {FORMS}, or a bag with '
                       f'<bag>{SUFFIX} beside it')
    if is_bag(path):
        from shufflenet_ros.datasets.bag import BagDataset  # here, as folders and tars need no rosbags
        return BagDataset(path, split)
    if path.is_dir():
        return FolderDataset(path, split)
    if path.is_file() and path.name.lower().endswith(TAR_SUFFIXES):
        return TarDataset(path, split)
    kind = kind_of(path.stat()) or 'another file'
    raise DatasetError(f'set {path}: expected a folder, a file that ends in {", ".join(TAR_SUFFIXES)}, or a bag '
                   f'with <bag>{SUFFIX} beside it, got {kind}')
