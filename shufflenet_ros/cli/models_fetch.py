"""`models fetch`: other people's files into this machine's cache, absent or checked, never half.

The node never comes here: what a robot runs is fetched beforehand, by a person.
"""

import argparse
import fcntl
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from shufflenet_ros.bundles.catalog import CHECKS, Download, file_hashes, find_download, folder_of
from shufflenet_ros.bundles.download import receive
from shufflenet_ros.bundles.errors import ModelError, mismatch
from shufflenet_ros.bundles.https import LIMITS, Limits
from shufflenet_ros.bundles.index import IndexEntry, read_index, write_entries
from shufflenet_ros.bundles.part import Part, writing
from shufflenet_ros.bundles.unpack import unpack
from shufflenet_ros.core.console import say, say_json
from shufflenet_ros.core.files import WriteError


@dataclass(frozen=True)
class Fetched:
    """A checked file in the cache; `fresh` where this call brought it."""

    path: Path
    entry: IndexEntry
    fresh: bool


def fetch(download: Download, cache: Path | None = None, limits: Limits = LIMITS,
          tell: Callable[[str], None] = lambda text: None) -> Fetched:
    """Bring a file into the cache, or find it there; two processes at once bring it once.

    The sha256 and size of the first fetch are pinned in the cache's index; other bytes are refused ever
    after. However the process ends, the cache has the whole checked file or does not have it.

    Args:
        cache: instead of `$XDG_CACHE_HOME/shufflenet_ros`.
        tell: told in one line what takes time.

    Raises:
        ModelError: whatever goes wrong, in one line; WriteError where the disk refuses.
    """
    folder = folder_of(download, cache)
    path = folder / download.file
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    lock = folder / f'.{download.file}.lock'
    with _locked(lock, lambda: tell(f'waiting for another fetch of {path.name}')):
        pin = read_index(folder).get(download.name)
        entry = _kept(download, path, pin)
        fresh = entry is None
        if entry is None:
            tell(f'fetching {download.url}')
            entry = _bring(download, path, pin, limits)
        if entry != pin:
            with _locked(folder / '.index.lock'), writing(folder):
                write_entries(folder, read_index(folder) | {download.name: entry})
    return Fetched(path, entry, fresh)


def _kept(download: Download, path: Path, pin: IndexEntry | None) -> IndexEntry | None:
    """The entry of a file that is there and right; a process may have ended before it wrote the index."""
    if not path.is_file():
        return None
    try:
        sha256, sha1, size = file_hashes(path)
        entry = _entry(download, sha256, size)
        if pin is None:
            download.verify(sha256, sha1)
    except (OSError, ModelError):
        return None
    return entry if pin is None or _same(entry, pin) else None


def _bring(download: Download, path: Path, pin: IndexEntry | None, limits: Limits) -> IndexEntry:
    part = Part(path)
    sha256 = receive(download.url, part, max_size=download.max_size, size=download.size, limits=limits)
    unpacked = path.with_name(path.name + '.unpacked')
    with _keeping_nothing_refused(part, unpacked):
        if not download.zipped:
            entry = _accept(download, pin, sha256, '', part.size)
            part.become(path)
            return entry
        got = unpack(part.path, unpacked, download.max_size, f'{download.name} from {download.url}')
        entry = _accept(download, pin, got.sha256, got.sha1, got.size)
    with writing(path.parent):
        unpacked.replace(path)
    part.discard()
    return entry


def _accept(download: Download, pin: IndexEntry | None, sha256: str, sha1: str, size: int) -> IndexEntry:
    download.verify(sha256, sha1)
    entry = _entry(download, sha256, size)
    if pin and not _same(entry, pin):
        raise mismatch(f'{download.name} from {download.url}',
                       f'sha256 {pin.sha256} and {pin.size} bytes, as at its first fetch',
                       f'{sha256} and {size}',
                       f'the publisher has changed it; nothing was kept. If the change is meant, take '
                       f'{download.name} out of the index.json of the cache and fetch it again')
    return entry


def _entry(download: Download, sha256: str, size: int) -> IndexEntry:
    return IndexEntry(download.file, sha256, size, download.check_kind)


def _same(entry: IndexEntry, pin: IndexEntry) -> bool:
    return (entry.sha256, entry.size) == (pin.sha256, pin.size)


@contextmanager
def _keeping_nothing_refused(part: Part, unpacked: Path) -> Iterator[None]:
    """A refused file goes; where only the disk refused, the received bytes stay for the next try."""
    try:
        yield
    except WriteError:
        unpacked.unlink(missing_ok=True)
        raise
    except ModelError:
        unpacked.unlink(missing_ok=True)
        part.discard()
        raise


@contextmanager
def _locked(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold a lock that ends with the process, however that ends. The file stays: to unlink it is a race."""
    with writing(path.parent):
        file = path.open('w')
    with file:
        with writing(path.parent):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the verb takes."""
    parser.add_argument('name', metavar='NAME', help='a name of `models list --kind download`')
    parser.add_argument('--json', action='store_true', help='one JSON object')


def run(args: argparse.Namespace) -> int:
    """Fetch one file and tell the next command.

    Raises:
        ModelError, WriteError: see `fetch`.
    """
    download = find_download(args.name)
    done = fetch(download, tell=lambda text: say(text, to=sys.stderr))
    if args.json:
        say_json({'name': download.name, 'path': str(done.path), 'fresh': done.fresh, **asdict(done.entry)})
        return 0
    say(f'{done.path}: {"fetched" if done.fresh else "already there"}, {done.entry.size} bytes, checked by '
        f'{CHECKS[download.check_kind]}',
        f'terms: {download.terms}', f'next: {next_step(download, done.path)}')
    return 0


def next_step(download: Download, path: Path) -> str:
    """How the fetched file is used."""
    if download.runs:
        return f'run it with model:={download.name}'
    return f'shufflenet-ros models import {shlex.quote(str(path))} -o {download.name}.onnx'
