# SPDX-License-Identifier: Apache-2.0
"""Where models are on this machine, and which file a name or path means."""

import os
import site
import sysconfig
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from shufflenet_ros.bundles.errors import ModelError, mismatch
from shufflenet_ros.bundles.index import NAME, IndexEntry, read_index

DEFAULT_MODEL = 'shufflenet_v2_x1_0-imagenet-224'
"""The shipped model that node and command line run by default."""

_PACKAGE = Path(__file__).resolve().parents[1]
_SHARE = Path('share', 'shufflenet_ros', 'models')


@dataclass(frozen=True)
class ModelFile:
    """A model file.

    Attributes:
        location: the kind of the model directory that it is in; None for any other directory.
        entry: its entry in the directory's index, if that lists it.
    """

    path: Path
    location: str | None = None
    entry: IndexEntry | None = None


def cache_root() -> Path:
    """Where fetched files are stored: `models` for those that run, `weights` for those to import first."""
    cache = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
    return Path(cache, 'shufflenet_ros')


def model_directories() -> dict[Path, str]:
    """The directories whose index is trusted, in the order of search, with their kind.

    The kind is source tree, ament, installed or cache. Some may not exist. The source tree comes first: if
    the running package is in one, its models are the newest, and an editable installation leaves an old copy
    in the environment.
    """
    found: dict[Path, str] = {}
    if (_PACKAGE.parent / 'package.xml').is_file():
        found[_PACKAGE.parent / 'models'] = 'source tree'
    for prefix in filter(None, os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)):
        found.setdefault(Path(prefix) / _SHARE, 'ament')
    # From <prefix>/lib/python3.x/site-packages/shufflenet_ros up to the prefix.
    for root in (Path(sysconfig.get_path('data')), Path(site.getuserbase()), *_PACKAGE.parents[3:4]):
        found.setdefault(root / _SHARE, 'installed')
    found.setdefault(cache_root() / 'models', 'cache')
    return found


def models_in(folder: Path, location: str) -> dict[str, ModelFile]:
    """Name -> file of one directory: what its index lists, and the ONNX files that it doesn't list.

    Raises:
        ModelError: the index cannot be read.
    """
    index = read_index(folder)
    found = {name: ModelFile(folder / entry.file, location, entry) for name, entry in index.items()}
    listed = {entry.file for entry in index.values()}
    for path in sorted(folder.glob('*.onnx')):
        if path.name not in listed:
            found.setdefault(path.stem, ModelFile(path, location))
    return found


def all_models() -> Iterator[tuple[str, ModelFile]]:
    """Every name in every directory, in the order of search; a name can come more than once."""
    for folder, location in model_directories().items():
        yield from models_in(folder, location).items()


def is_path(name_or_path: str) -> bool:
    """Whether a string is a path rather than a name: it has a slash or ends in .onnx."""
    return os.sep in name_or_path or name_or_path.endswith('.onnx')


def find(name_or_path: str) -> ModelFile:
    """The file that a name or path means. A path need not exist.

    Raises:
        ModelError: no such name in any directory; lists the names and the directories.
    """
    if is_path(name_or_path):
        return _listed_file(Path(name_or_path))
    if not NAME.fullmatch(name_or_path):
        raise mismatch('model', 'a name or the path of an ONNX file', repr(name_or_path[:100]),
                       'give a name of `shufflenet-ros models list`, or a path that ends in .onnx')
    names: list[str] = []
    for name, file in all_models():
        if name == name_or_path:
            return file
        names.append(name)
    searched = ', '.join(f'{folder} ({location})' for folder, location in model_directories().items())
    raise ModelError(f'model {name_or_path!r}: no such name; known are {names or "none"}; '
                     f'give one of them or the path of an ONNX file. Searched: {searched}')


def _listed_file(path: Path) -> ModelFile:
    """A path in one of our model directories gets that directory's index entry."""
    try:
        real = os.path.realpath(path.parent)
    except (OSError, ValueError):
        return ModelFile(path)  # such as a NUL in it, which is reported when the file is opened
    for folder, location in model_directories().items():
        if real == os.path.realpath(folder):
            for file in models_in(folder, location).values():
                if file.path.name == path.name:
                    return file
    return ModelFile(path)


def trusted_hashes() -> frozenset[str]:
    """The sha256 of every file in every directory's index. An index that cannot be read adds none."""
    hashes: set[str] = set()
    for folder in model_directories():
        with suppress(ModelError):
            hashes |= {entry.sha256 for entry in read_index(folder).values()}
    return frozenset(hashes)
