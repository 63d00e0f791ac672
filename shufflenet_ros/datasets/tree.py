"""The class of a file: `<class>/<image>` or `<split>/<class>/<image>`, in folders and tars alike."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from shufflenet_ros.core.reasons import printable
from shufflenet_ros.datasets.errors import DatasetError
from shufflenet_ros.datasets.image_files import IMAGE_SUFFIXES

FORMS = '<class>/<image> or <split>/<class>/<image>'
DEFAULT_SPLIT = 'val'


@dataclass(frozen=True)
class ClassTree:
    """The files of one split.

    Attributes:
        split: the one that was taken, '' where the set has none.
        labels: class names of all splits, sorted.
        targets: file -> index of its class, in the files' order.
        left_out: other images, by cause.
    """

    split: str
    labels: tuple[str, ...]
    targets: Mapping[str, int]
    left_out: Mapping[str, int]


def is_image_file(name: str) -> bool:
    """Whether a file's name ends like an image's."""
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


def arrange(where: Path, files: Sequence[str], split: str) -> ClassTree:
    """Sort a set's images by their place.

    Args:
        files: paths inside the set, with slashes.
        split: such as val; '' takes `val` where there are splits, everything where there are none.

    Raises:
        DatasetError: no image of that split, images in both forms, or no split named val to fall back on.
    """
    parts = {file: PurePosixPath(file).parts for file in files if is_image_file(file)}
    by_depth = Counter(len(part) for part in parts.values())
    if not by_depth[2] and not by_depth[3]:
        raise DatasetError(f'{where}: it has no images as {FORMS}; expected files that end in '
                       f'{", ".join(IMAGE_SUFFIXES)}')
    if by_depth[2] and by_depth[3]:
        raise DatasetError(f'{where}: {by_depth[2]} images lie as <class>/<image> and {by_depth[3]} as '
                       '<split>/<class>/<image>; expected one of the two: move the others away')
    depth = 3 if by_depth[3] else 2
    placed = {file: part for file, part in parts.items() if len(part) == depth}
    split = _choose_split(where, {part[0] for part in placed.values()} if depth == 3 else set(), split)
    labels = tuple(sorted({part[-2] for part in placed.values()}))
    index = {name: i for i, name in enumerate(labels)}
    targets = {file: index[part[-2]] for file, part in placed.items() if depth == 2 or part[0] == split}
    misplaced = len(parts) - len(placed)
    left_out = {'images at another depth': misplaced} if misplaced else {}
    return ClassTree(split, labels, targets, left_out)


def _choose_split(where: Path, splits: set[str], asked: str) -> str:
    if not splits:
        if asked:
            raise DatasetError(f'{where}: no image under {asked}/<class>/: it has no splits, its images lie as '
                           '<class>/<image>; leave the split out')
        return ''
    choice = asked or DEFAULT_SPLIT
    if choice not in splits:
        there = ', '.join(printable(name, 40) for name in sorted(splits)[:10])
        raise DatasetError(f'{where}: no image under {choice}/<class>/; its splits are {there}: name one of them')
    return choice
