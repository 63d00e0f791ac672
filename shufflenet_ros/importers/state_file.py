# SPDX-License-Identifier: Apache-2.0
"""Read other projects' checkpoints: plain tensors only, never code."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from shufflenet_ros.bundles.files import read_regular
from shufflenet_ros.importers.weights import Tensors
from shufflenet_ros.zoo.errors import ZooError

MAX_BYTES = 1 << 30
# Keys under which trainers store the state dict, and what they put before its keys.
_WRAPPERS = ('state_dict', 'model_state_dict', 'model', 'net', 'network')
_PREFIXES = ('module.', 'model.', 'backbone.', 'head.')


def read_content(path: Path) -> tuple[bytes, bytes]:
    """The bytes of a file, and of the .pth or .pt in it: the same, except for a zip around one.

    Raises:
        ModelError: the file cannot be read, or is larger than 1 GiB.
        ZooError: a damaged zip, one with several checkpoints, or one that unpacks to too much.
    """
    data = read_regular(path, MAX_BYTES)
    return data, _unzipped(data, str(path))


def state_of(data: bytes, what: str) -> Tensors:
    """The tensors in a checkpoint's bytes, by key without wrappers and prefixes.

    Returns:
        float32 on the CPU (BN's counters: int64).

    Raises:
        ZooError: it has something other than tensors; the message says what and where.
    """
    try:
        loaded = torch.load(io.BytesIO(data), map_location='cpu', weights_only=True)
    except Exception as error:  # a hostile or damaged pickle can make the reader raise anything
        cause = ' '.join(str(error).split())[:300]
        raise ZooError(f'{what}: not a checkpoint of plain tensors ({type(error).__name__}: {cause}); '
                       'expected a state dict saved with torch.save(model.state_dict(), ...): a pickle of '
                       'whole objects could run code and is never loaded') from error
    return plain(loaded, what)


def _unzipped(data: bytes, what: str) -> bytes:
    """The checkpoint inside a zip, else the data. PyTorch's own format is a zip without one inside."""
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return data
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            inner = [info for info in archive.infolist() if info.filename.endswith(('.pth', '.pt'))]
            if not inner:
                return data
            if len(inner) > 1:
                raise ZooError(f'{what}: holds {len(inner)} checkpoints, such as {inner[0].filename!r}: '
                               'expected one; unpack it and import one of them')
            with archive.open(inner[0]) as file:
                content = file.read(MAX_BYTES + 1)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise ZooError(f'{what}: a zip that cannot be unpacked ({error}); get it again') from error
    if len(content) > MAX_BYTES:
        raise ZooError(f'{what}: {inner[0].filename!r} unpacks to more than {MAX_BYTES} bytes: expected at '
                       'most that; check that this is the right file')
    return content


def plain(loaded: Any, what: str) -> Tensors:
    """The state dict itself, without wrappers and the prefixes of wrapping modules.

    Raises:
        ZooError: not a dict of tensors, two keys that become one, or a value that is not finite.
    """
    state = loaded
    while isinstance(state, Mapping) and not any(isinstance(value, torch.Tensor) for value in state.values()):
        wrapped = [state[key] for key in _WRAPPERS if isinstance(state.get(key), Mapping)]
        if not wrapped:
            break
        state = wrapped[0]
    if not isinstance(state, Mapping) or not state:
        raise ZooError(f'{what}: holds {type(state).__name__}: expected a dict of tensors by name, or one '
                       f'under {", ".join(_WRAPPERS)}; save model.state_dict() alone')
    tensors: Tensors = {}
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            raise ZooError(f'{what}: {str(key)[:80]!r} is {type(value).__name__}: expected only tensors by '
                           'name; save model.state_dict() alone')
        name = key
        for prefix in _PREFIXES:
            name = name.removeprefix(prefix)
        if name in tensors:
            raise ZooError(f'{what}: two tensors are named {name} without {", ".join(_PREFIXES)}: expected '
                           'one network in the file; save the one to import by itself')
        if value.is_floating_point():
            if not value.isfinite().all():
                raise ZooError(f'{what}: {key} holds values that are not finite: expected numbers; the '
                               'training that made it has failed')
            value = value.detach().float()
        tensors[name] = value
    return tensors
