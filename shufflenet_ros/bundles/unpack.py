"""Take the one .pth out of a zip that somebody else made, never more of it than allowed."""

import hashlib
import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from shufflenet_ros.bundles.errors import ModelError, mismatch
from shufflenet_ros.bundles.part import writing

BLOCK = 1 << 20
REFUSED = 'nothing was kept; try again, and if it stays so, tell the publisher'


@dataclass(frozen=True)
class Unpacked:
    """What was written: sha256 and sha1 in hexadecimal digits, size in bytes."""

    sha256: str
    sha1: str
    size: int


def unpack(archive: Path, target: Path, max_size: int, what: str) -> Unpacked:
    """Write the archive's only .pth to target; names and folders inside the zip decide nothing.

    Args:
        max_size: most bytes that are written, whatever the zip announces.
        what: the file's name for messages.

    Raises:
        ModelError: no zip, not exactly one .pth, encrypted, too large, damaged.
        WriteError: the disk refuses.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            return _copy(file, _member(file, what), target, max_size, what)
    except ModelError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
        raise mismatch(what, 'a zip with a .pth', f'a damaged one ({error})', REFUSED) from error


def _member(file: zipfile.ZipFile, what: str) -> zipfile.ZipInfo:
    members = [member for member in file.infolist() if member.filename.endswith('.pth')]
    if len(members) != 1:
        raise mismatch(what, 'exactly one .pth in the zip', str(len(members)), REFUSED)
    member, = members
    if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise mismatch(what, 'a .pth that is stored or deflated', 'another packing', REFUSED)
    return member


def _copy(file: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, max_size: int, what: str) -> Unpacked:
    sha256, sha1, size = hashlib.sha256(), hashlib.sha1(usedforsecurity=False), 0
    with writing(target.parent):
        out = target.open('wb', buffering=0)
    with out, file.open(member) as source:
        while block := source.read(BLOCK):
            size += len(block)
            if size > max_size:
                raise mismatch(what, f'at most {max_size} bytes in the zip', 'more', REFUSED)
            sha256.update(block)
            sha1.update(block)
            with writing(target.parent):
                rest = memoryview(block)
                while rest:
                    rest = rest[out.write(rest):]
        with writing(target.parent):
            os.fsync(out.fileno())
    return Unpacked(sha256.hexdigest(), sha1.hexdigest(), size)
