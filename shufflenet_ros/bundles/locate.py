"""Where models lie on this machine, and how a name or path becomes a file."""

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
"""The shipped model that node and command line run when none is named."""

_PACKAGE = Path(__file__).resolve().parents[1]
_SHARE = Path('share', 'shufflenet_ros', 'models')


@dataclass(frozen=True)
class ModelDirectory:
    """A folder whose index is trusted: what it is, and its path."""

    kind: str
    folder: Path


@dataclass(frozen=True)
class ModelFile:
    """A model file, and its index entry where the folder's index lists it."""

    path: Path
    place: ModelDirectory | None = None
    entry: IndexEntry | None = None


def cache_root() -> Path:
    """Where fetched files are kept: `models` for what runs, `weights` for what must be imported first."""
    cache = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
    return Path(cache, 'shufflenet_ros')


def model_directories() -> tuple[ModelDirectory, ...]:
    """In the order in which they are searched, existing or not, each folder once.

    The source tree comes first: where the running package lies in one, its models are the newest, and
    an editable installation leaves an old copy in the environment.
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
    return tuple({place.folder: place for place in reversed(found)}.values())[::-1]


def models_in(place: ModelDirectory) -> dict[str, ModelFile]:
    """Name -> file of one place: what its index lists, and ONNX files beside it."""
    index = read_index(place.folder)
    listed = {entry.file for entry in index.values()}
    found = {name: ModelFile(place.folder / entry.file, place, entry) for name, entry in index.items()}
    for path in sorted(place.folder.glob('*.onnx')):
        if path.name not in listed:
            found.setdefault(path.stem, ModelFile(path, place))
    return found


def all_models() -> Iterator[tuple[str, ModelFile]]:
    """Every name of every place, in the order of search; a name can come more than once."""
    for place in model_directories():
        yield from models_in(place).items()


def is_path(name_or_path: str) -> bool:
    """Whether a text means a file rather than a name: it has a slash or ends in .onnx."""
    return os.sep in name_or_path or name_or_path.endswith('.onnx')


def find(name_or_path: str) -> ModelFile:
    """The file that a name or path means; a path need not exist.

    Raises:
        ModelError: a name that no place knows; says which names there are and where it looked.
    """
    if is_path(name_or_path):
        return _known(Path(name_or_path))
    if not NAME.fullmatch(name_or_path):
        raise mismatch('model', 'a name or the path of an ONNX file', repr(name_or_path[:100]),
                       'give a name of `shufflenet-ros models list`, or a path that ends in .onnx')
    names: list[str] = []
    for name, found in all_models():
        if name == name_or_path:
            return found
        names.append(name)
    looked = ', '.join(f'{place.folder} ({place.kind})' for place in model_directories())
    raise ModelError(f'model {name_or_path!r}: no such name; there are {names or "none"}; '
                     f'give one of them or the path of an ONNX file. Looked in {looked}')


def _known(path: Path) -> ModelFile:
    """A path that lies in one of our model_directories is held to that place's index."""
    try:
        folder = os.path.realpath(path.parent)
    except (OSError, ValueError):
        return ModelFile(path)  # Such as a NUL in it: whoever opens it tells.
    for place in model_directories():
        if folder == os.path.realpath(place.folder):
            for found in models_in(place).values():
                if found.path.name == path.name:
                    return found
    return ModelFile(path)


def trusted_hashes() -> frozenset[str]:
    """The sha256 of every file in every place's index; an index that cannot be read makes nothing trusted."""
    hashes: set[str] = set()
    for place in model_directories():
        with suppress(ModelError):
            hashes |= {entry.sha256 for entry in read_index(place.folder).values()}
    return frozenset(hashes)
