"""A file that is still being received: its bytes so far, and what the server said of the whole."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from shufflenet_ros.core import files

if TYPE_CHECKING:
    from hashlib import _Hash


@dataclass(frozen=True)
class Note:
    """What the server said when the first byte came.

    Attributes:
        validator: its strong ETag or its date, for If-Range; '' where it gave none.
        length: bytes of the whole file, None where it gave none.
    """

    validator: str = ''
    length: int | None = None


class Part:
    """`<file>.part` and `<file>.part.json` beside the file they become.

    Every method that writes raises WriteError where the disk refuses.
    """

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(target.name + '.part')
        self._note = target.with_name(target.name + '.part.json')

    @property
    def size(self) -> int:
        """Bytes received so far; 0 where there are none."""
        return self.path.stat().st_size if self.path.is_file() else 0

    @property
    def note(self) -> Note:
        """An empty one where none can be read: then nothing is resumed."""
        try:
            values = json.loads(self._note.read_bytes())
            note = Note(values['validator'], values['length'])
            good = isinstance(note.validator, str) and (note.length is None or type(note.length) is int)
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return Note()
        return note if good else Note()

    def digest(self) -> '_Hash':
        """The sha256 of what is there, to be carried on."""
        digest = hashlib.sha256()
        with self.path.open('rb') as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return digest

    def sha256(self) -> str:
        """Of what is there, in 64 hexadecimal digits."""
        return self.digest().hexdigest()

    def begin(self, validator: str, length: int | None) -> None:
        """Forget an earlier file and start a new one."""
        with writing(self.path.parent):
            # In this order, so that a process killed between two steps leaves no bytes under a wrong note.
            self.path.unlink(missing_ok=True)
            self._note.write_text(json.dumps(asdict(Note(validator, length))))

    @contextmanager
    def appended(self) -> Iterator[Callable[[bytes], None]]:
        """Give a function that appends; at the end everything is on the disk."""
        # Unbuffered: what a refused write leaves behind is a beginning of the file, as after any other end.
        with writing(self.path.parent):
            file = self.path.open('ab', buffering=0)

        def write(block: bytes) -> None:
            rest = memoryview(block)
            with writing(self.path.parent):
                while rest:
                    rest = rest[file.write(rest):]

        with file:
            yield write
            with writing(self.path.parent):
                os.fsync(file.fileno())

    def discard(self) -> None:
        """Forget everything."""
        with writing(self.path.parent):
            self.path.unlink(missing_ok=True)
            self._note.unlink(missing_ok=True)

    def become(self, target: Path) -> None:
        """Turn into the finished file in one step."""
        with writing(target.parent):
            os.replace(self.path, target)
            self._note.unlink(missing_ok=True)


def writing(folder: Path) -> AbstractContextManager[None]:
    """`core.files.writing` with what to do about the cache."""
    return files.writing(folder, 'make room there, or choose another cache with XDG_CACHE_HOME')
