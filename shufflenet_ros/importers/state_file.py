"""Reading other people's checkpoints: plain tensors alone, never code."""

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
# What trainers wrap the state dict in, and what they put before its keys.
_WRAPPERS = ('state_dict', 'model_state_dict', 'model', 'net', 'network')
_PREFIXES = ('module.', 'model.', 'backbone.', 'head.')


def read_state(path: Path) -> Tensors:
    """The tensors of a .pth, .pt or of the one .pth inside a zip, by key without wrappers and prefixes.

    Raises:
        ModelError: the file cannot be read, or is larger than 1 GiB.
        ZooError: it holds something else than tensors; names what and where.
    """
    return state_of(unzipped(read_regular(path, MAX_BYTES), str(path)), str(path))


def state_of(data: bytes, what: str) -> Tensors:
    """The tensors in a checkpoint's bytes: key -> float32 on the CPU (BN's counters: int64).

    Raises:
        ZooError: it holds something else than tensors; names what and where.
    """
    return plain(_load(data, what), what)


def unzipped(data: bytes, what: str) -> bytes:
    """The .pth inside, of a zip around one; PyTorch's own format is a zip too, and stays.

    Raises:
        ZooError: a damaged zip, one with several checkpoints, or too much inside.
    """
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return data
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            inner = [info for info in archive.infolist() if info.filename.endswith(('.pth', '.pt'))]
            if not inner:
                return data
            if len(inner) > 1:
                raise ZooError(f'{what}: holds {len(inner)} checkpoints, such as {inner[0].filename!r}: '
                               'expected one; unpack it and name the one to import')
            with archive.open(inner[0]) as file:
                content = file.read(MAX_BYTES + 1)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise ZooError(f'{what}: a zip that cannot be unpacked ({error}); get it again') from error
    if len(content) > MAX_BYTES:
        raise ZooError(f'{what}: {inner[0].filename!r} unpacks to more than {MAX_BYTES} bytes: expected at '
                       'most that; check that this is the right file')
    return content


def _load(data: bytes, what: str) -> Any:
    try:
        return torch.load(io.BytesIO(data), map_location='cpu', weights_only=True)
    except Exception as error:  # a hostile or damaged pickle can make the reader raise anything
        cause = ' '.join(str(error).split())[:300]
        raise ZooError(f'{what}: is no checkpoint of plain tensors ({type(error).__name__}: {cause}); '
                       'expected a state dict saved with torch.save(model.state_dict(), ...): a pickle of '
                       'whole objects could run code and is never loaded') from error


def plain(loaded: Any, what: str) -> Tensors:
    """The state dict itself, out of its wrappers, without the prefixes of wrapping modules.

    Raises:
        ZooError: no dict of tensors, two keys that become one, or a value that is not finite.
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
            raise ZooError(f'{what}: {str(key)[:80]!r} is {type(value).__name__}: expected tensors by name '
                           'alone; save model.state_dict() alone')
        name = _without_prefixes(key)
        if name in tensors:
            raise ZooError(f'{what}: two tensors are named {name} without {", ".join(_PREFIXES)}: expected '
                           'one network in the file; save the one to import by itself')
        if not value.is_floating_point():
            tensors[name] = value
        elif value.isfinite().all():
            tensors[name] = value.detach().float()
        else:
            raise ZooError(f'{what}: {key} holds values that are not finite: expected numbers; the training '
                           'that made it has failed')
    return tensors


def _without_prefixes(key: str) -> str:
    for prefix in _PREFIXES:
        key = key.removeprefix(prefix)
    return key
