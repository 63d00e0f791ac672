"""From a path to its labelled pictures, whatever they lie in."""

from pathlib import Path

from shufflenet_ros.bags.kinds import is_bag
from shufflenet_ros.core.files import kind_of
from shufflenet_ros.sets.errors import SetError
from shufflenet_ros.sets.folder import FolderSet
from shufflenet_ros.sets.label_file import SUFFIX
from shufflenet_ros.sets.sample import LabelledSet
from shufflenet_ros.sets.tar import TAR_SUFFIXES, TarSet
from shufflenet_ros.sets.tree import FORMS


def open_set(path: str | Path, split: str = '') -> LabelledSet:
    """Open a folder, a tar or a labelled bag.

    Args:
        split: such as val; '' takes `val` where the set has splits, everything where it has none.

    Raises:
        SetError: no set, one without such a split, or a wrong label file.
        BagError: a damaged bag.
    """
    path = Path(path)
    if not path.exists():
        raise SetError(f'set {path} does not exist: give a folder or tar of {FORMS}, or a bag with '
                       f'<bag>{SUFFIX} beside it')
    if is_bag(path):
        from shufflenet_ros.sets.bag import BagSet  # here, as folders and tars need no rosbags
        return BagSet(path, split)
    if path.is_dir():
        return FolderSet(path, split)
    if path.is_file() and path.name.lower().endswith(TAR_SUFFIXES):
        return TarSet(path, split)
    kind = kind_of(path.stat()) or 'another file'
    raise SetError(f'set {path}: expected a folder, a file that ends in {", ".join(TAR_SUFFIXES)}, or a bag '
                   f'with <bag>{SUFFIX} beside it, got {kind}')
