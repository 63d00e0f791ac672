# SPDX-License-Identifier: Apache-2.0
"""Class folders: `<class>/<image>` or `<split>/<class>/<image>`, in folders and tars alike."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from shufflenet_ros.core.text import printable
from shufflenet_ros.datasets.errors import DatasetError
from shufflenet_ros.datasets.image_files import IMAGE_SUFFIXES, is_image_file
from shufflenet_ros.datasets.labeled_dataset import LabeledDataset

LAYOUTS = '<class>/<image> or <split>/<class>/<image>'
DEFAULT_SPLIT = 'val'


def dataset_of_files(path: Path, files: Sequence[str], split: str,
                     read: Callable[[Sequence[str]], Iterator[Any]], left_out: Mapping[str, int] | None = None
                     ) -> LabeledDataset:
    """The images of one split, labeled by their folders.

    Args:
        path: of the dataset.
        files: paths inside the dataset, with slashes.
        split: such as val; '' means `val` if there are splits, else everything.
        read: some of the files -> their messages, in the same order.
        left_out: number of files that the caller has left out, by cause.

    Raises:
        DatasetError: no images in that split, images in both layouts, or splits without val.
    """
    parts = {file: PurePosixPath(file).parts for file in files if is_image_file(file)}
    by_depth = Counter(map(len, parts.values()))
    if not by_depth[2] and not by_depth[3]:
        raise DatasetError(f'{path}: found no images as {LAYOUTS}; expected files that end in '
                           f'{", ".join(IMAGE_SUFFIXES)}')
    if by_depth[2] and by_depth[3]:
        raise DatasetError(f'{path}: {by_depth[2]} images are in <class>/<image> and {by_depth[3]} in '
                           '<split>/<class>/<image>; expected one layout: move the others out')
    depth = 3 if by_depth[3] else 2
    images = {file: part for file, part in parts.items() if len(part) == depth}
    split = _choose_split(path, {part[-3] for part in images.values()} if depth == 3 else set(), split)
    labels = tuple(sorted({part[-2] for part in images.values()}))
    index = {label: i for i, label in enumerate(labels)}
    names = tuple(file for file, part in images.items() if depth == 2 or part[0] == split)
    others = {'images at another depth': len(parts) - len(images)} if len(parts) > len(images) else {}
    return LabeledDataset(path, split, labels, names, tuple(index[images[name][-2]] for name in names),
                          {**others, **(left_out or {})},
                          lambda indices: read([names[i] for i in indices]))


def _choose_split(path: Path, splits: set[str], requested: str) -> str:
    if not splits:
        if requested:
            raise DatasetError(f'{path}: no images in {requested}/<class>/: it has no splits, its images '
                               'are in <class>/<image>; leave the split out')
        return ''
    split = requested or DEFAULT_SPLIT
    if split not in splits:
        found = ', '.join(printable(name, 40) for name in sorted(splits)[:10])
        raise DatasetError(f'{path}: no images in {split}/<class>/; expected one of its splits: {found}')
    return split
