# SPDX-License-Identifier: Apache-2.0
"""Class folders: `<class>/<image>` or `<split>/<class>/<image>`, in folders and tars alike."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from shufflenet_ros.core.text import printable
from shufflenet_ros.datasets.errors import DatasetError
from shufflenet_ros.datasets.image_files import IMAGE_SUFFIXES

LAYOUTS = '<class>/<image> or <split>/<class>/<image>'
DEFAULT_SPLIT = 'val'


@dataclass(frozen=True)
class ClassFolders:
    """The image files of one split.

    Attributes:
        split: '' where the dataset has none.
        labels: class names of all splits, sorted.
        targets: file -> index of its class, in the files' order.
        left_out: how many images are in neither layout's folders, by cause.
    """

    split: str
    labels: tuple[str, ...]
    targets: Mapping[str, int]
    left_out: Mapping[str, int]


def is_image_file(name: str) -> bool:
    """Whether a file's name ends like an image's."""
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


def sort_by_class(dataset: Path, files: Sequence[str], split: str) -> ClassFolders:
    """Find the class of each image file from its folder.

    Args:
        dataset: its path, for errors.
        files: paths inside the dataset, with slashes.
        split: such as val; '' means `val` where there are splits, everything where there are none.

    Raises:
        DatasetError: no images in that split, images in both layouts, or splits without val.
    """
    parts = {file: PurePosixPath(file).parts for file in files if is_image_file(file)}
    by_depth = Counter(len(part) for part in parts.values())
    if not by_depth[2] and not by_depth[3]:
        raise DatasetError(f'{dataset}: found no images as {LAYOUTS}; expected files that end in '
                           f'{", ".join(IMAGE_SUFFIXES)}')
    if by_depth[2] and by_depth[3]:
        raise DatasetError(f'{dataset}: {by_depth[2]} images are in <class>/<image> and {by_depth[3]} in '
                           '<split>/<class>/<image>; expected one layout: move the others out')
    depth = 3 if by_depth[3] else 2
    sorted_parts = {file: part for file, part in parts.items() if len(part) == depth}
    splits = {part[0] for part in sorted_parts.values()} if depth == 3 else set()
    split = _choose_split(dataset, splits, split)
    labels = tuple(sorted({part[-2] for part in sorted_parts.values()}))
    index = {label: i for i, label in enumerate(labels)}
    targets = {file: index[part[-2]] for file, part in sorted_parts.items() if depth == 2 or part[0] == split}
    others = len(parts) - len(sorted_parts)
    return ClassFolders(split, labels, targets, {'images at another depth': others} if others else {})


def _choose_split(dataset: Path, splits: set[str], requested: str) -> str:
    if not splits:
        if requested:
            raise DatasetError(f'{dataset}: no images in {requested}/<class>/: it has no splits, its images '
                               'are in <class>/<image>; leave the split out')
        return ''
    split = requested or DEFAULT_SPLIT
    if split not in splits:
        found = ', '.join(printable(name, 40) for name in sorted(splits)[:10])
        raise DatasetError(f'{dataset}: no images in {split}/<class>/; expected one of its splits: {found}')
    return split
