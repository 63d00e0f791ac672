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
class ModelDirectory:
    """A directory whose index is trusted.

    Attributes:
        kind: source tree, ament, installed or cache.
    """

    kind: str
    path: Path


@dataclass(frozen=True)
class ModelFile:
    """A model file.

    Attributes:
        directory: the model directory that it is in, None for any other.
        entry: its entry in the directory's index, if that lists it.
    """

    path: Path
    directory: ModelDirectory | None = None
    entry: IndexEntry | None = None

    @property
    def location(self) -> str | None:
        """The kind of its model directory."""
        return self.directory.kind if self.directory else None


def cache_root() -> Path:
    """Where fetched files are kept: `models` for what runs, `weights` for what must be imported first."""
    cache = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
    return Path(cache, 'shufflenet_ros')


def model_directories() -> tuple[ModelDirectory, ...]:
    """In the order in which they are searched, each once; some may not exist.

    The source tree comes first: if the running package is in one, its models are the newest, and an editable
    installation leaves an old copy in the environment.
    """
    found: list[ModelDirectory] = []
    if (_PACKAGE.parent / 'package.xml').is_file():
        found.append(ModelDirectory('source tree', _PACKAGE.parent / 'models'))
    for prefix in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep):
        if prefix:
            found.append(ModelDirectory('ament', Path(prefix) / _SHARE))
    # From <prefix>/lib/python3.x/site-packages/shufflenet_ros up to the prefix.
    prefixes = [Path(sysconfig.get_path('data')), Path(site.getuserbase()), *_PACKAGE.parents[3:4]]
    found += [ModelDirectory('installed', prefix / _SHARE) for prefix in prefixes]
    found.append(ModelDirectory('cache', cache_root() / 'models'))
    return tuple({directory.path: directory for directory in reversed(found)}.values())[::-1]


def models_in(directory: ModelDirectory) -> dict[str, ModelFile]:
    """Name -> file of one directory: what its index lists, and the ONNX files that it doesn't list."""
    index = read_index(directory.path)
    listed = {entry.file for entry in index.values()}
    found = {name: ModelFile(directory.path / entry.file, directory, entry) for name, entry in index.items()}
    for path in sorted(directory.path.glob('*.onnx')):
        if path.name not in listed:
            found.setdefault(path.stem, ModelFile(path, directory))
    return found


def all_models() -> Iterator[tuple[str, ModelFile]]:
    """Every name in every directory, in the order of search; a name can come more than once."""
    for directory in model_directories():
        yield from models_in(directory).items()


def is_path(name_or_path: str) -> bool:
    """Whether a text means a file rather than a name: it has a slash or ends in .onnx."""
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
    searched = ', '.join(f'{directory.path} ({directory.kind})' for directory in model_directories())
    raise ModelError(f'model {name_or_path!r}: no such name; known are {names or "none"}; '
                     f'give one of them or the path of an ONNX file. Searched: {searched}')


def _listed_file(path: Path) -> ModelFile:
    """A path in one of our model directories gets that directory's index entry."""
    try:
        folder = os.path.realpath(path.parent)
    except (OSError, ValueError):
        return ModelFile(path)  # such as a NUL in it, which is reported when the file is opened
    for directory in model_directories():
        if folder == os.path.realpath(directory.path):
            for file in models_in(directory).values():
                if file.path.name == path.name:
                    return file
    return ModelFile(path)


def trusted_hashes() -> frozenset[str]:
    """The sha256 of every file in every directory's index. An index that cannot be read adds none."""
    hashes: set[str] = set()
    for directory in model_directories():
        with suppress(ModelError):
            hashes |= {entry.sha256 for entry in read_index(directory.path).values()}
    return frozenset(hashes)
