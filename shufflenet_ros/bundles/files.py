# SPDX-License-Identifier: Apache-2.0
"""Read an untrusted file: once, only a regular file, and never more than a limit."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from shufflenet_ros.bundles.errors import ModelError, mismatch
from shufflenet_ros.core.fields import FieldError
from shufflenet_ros.core.files import open_regular

MAX_TABLE_BYTES = 1 << 20
TABLE_SCHEMA = 1

Table = TypeVar('Table')


def read_regular(path: Path, limit: int) -> bytes:
    """All bytes of a regular file.

    Raises:
        ModelError: not there, not readable, not a regular file, empty, or larger than limit bytes.
    """
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            data = file.read(limit + 1) if size <= limit else b''
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        cause = getattr(error, 'strerror', None) or error
        raise ModelError(f'{path}: cannot be read: {cause}; {_remedy(path)}') from error
    if (size := max(size, len(data))) > limit:
        raise mismatch(str(path), f'at most {limit} bytes', f'{size} bytes',
                       'check that this is the right file')
    if not data:
        raise mismatch(str(path), 'a file with content', '0 bytes', 'copy or download it again')
    return data


def _remedy(path: Path) -> str:
    if not os.path.isdir(path):  # Path.is_dir raises for a folder that may not be searched
        return 'check the path and its permissions'
    models = sorted(model.name for model in path.glob('*.onnx'))
    return f'name one of its files: {", ".join(models[:5])}' if models else 'name the model file itself'


def read_table(path: Path, parse: Callable[[bytes], Any], what: str, build: Callable[[Any], Table]) -> Table:
    """One of the package's own tables: `schema` must be TABLE_SCHEMA, `build` checks the rest.

    Args:
        parse: JSON or YAML, raising ValueError.
        what: the table's name for errors.
        build: makes the result from the parsed values; raises FieldError for a bad field.

    Raises:
        ModelError: a table that cannot be used; says where and why.
    """
    try:
        values = parse(read_regular(path, MAX_TABLE_BYTES))
        schema = values['schema']
        if type(schema) is not int or schema != TABLE_SCHEMA:
            raise mismatch(str(path), f'schema {TABLE_SCHEMA}', str(schema), 'use a newer shufflenet_ros')
        return build(values)
    except FieldError as error:
        raise ModelError(f'{path}: {error}; restore the file') from error
    except ModelError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise mismatch(str(path), what, f'something else ({error})', 'restore the file') from error


def sha256_of(data: bytes) -> str:
    """64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()
