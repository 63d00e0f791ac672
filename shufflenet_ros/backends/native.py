# SPDX-License-Identifier: Apache-2.0
"""The native backend: our own C kernels, one thread, from the camera's bytes to logits and embedding.

native/include/shufflenet_native.h is the library's interface.
"""

import ctypes
import functools
import os
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shufflenet_ros.bundles.errors import ModelError, mismatch
from shufflenet_ros.bundles.variants import PRECISIONS, ResolvedModel, VariantUnavailableError
from shufflenet_ros.core.frame import Outputs

ABI_VERSION = 1
FILE = 'libshufflenet_native.so'
VARIABLE = 'SHUFFLENET_NATIVE_LIBRARY'
"""Environment variable with the path of another library, for tests and cross checks."""
ANY_FEATURES = 0xFFFFFFFF
"""Allows every kernel that the CPU can run."""

_FEATURES = {0: 'NEON', 1: 'NEON fp16', 2: 'NEON dot product', 8: 'AVX2', 9: 'AVX-512', 10: 'AVX-512 VNNI',
             11: 'AVX-VNNI'}  # the bits of enum sn_feature
_BUILD = ('install a C compiler (sudo apt install gcc), then build shufflenet_ros again with '
          '`colcon build` or `pip install`')
_OK, _UNSUPPORTED = 0, 3
_REASON_BYTES = 512


class NativeInfo(ctypes.Structure):
    """sn_info: what a context runs."""

    _fields_ = (
        ('height', ctypes.c_uint32), ('width', ctypes.c_uint32),
        ('classes', ctypes.c_uint32), ('embedding', ctypes.c_uint32),
        ('precision', ctypes.c_uint32), ('features', ctypes.c_uint32),
        ('memory', ctypes.c_uint64),
        ('graph_sha256', ctypes.c_uint8 * 32),
        ('kernels', ctypes.c_char * 24),
    )


def library_path() -> Path:
    """The path of the library; it need not exist."""
    return Path(os.environ.get(VARIABLE) or Path(__file__).with_name(FILE))


def load_library() -> ctypes.CDLL:
    """The library, with every function's types set; its calls leave the GIL free.

    Raises:
        VariantUnavailableError: not built, cannot be loaded, or another interface version.
    """
    return _load(library_path())


def cpu_features() -> list[str]:
    """The features of this CPU that kernels can use.

    Raises:
        VariantUnavailableError: see `load_library`.
    """
    bits: int = load_library().sn_features()
    return [name for bit, name in _FEATURES.items() if bits >> bit & 1]


@functools.cache
def _load(path: Path) -> ctypes.CDLL:
    if not path.is_file():
        if os.environ.get(VARIABLE):
            raise VariantUnavailableError(f'{path}: no such file; correct {VARIABLE}, or unset it')
        raise VariantUnavailableError('the native kernels are not built: no working C compiler was found '
                                      f'when the package was built; {_BUILD}')
    try:
        library = ctypes.CDLL(str(path))
        version = library.sn_abi_version
    except OSError as error:
        raise VariantUnavailableError(f'{path}: cannot be loaded: {error}; {_BUILD}') from error
    except AttributeError as error:
        raise VariantUnavailableError(f'{path}: not {FILE}: it has no sn_abi_version; {_BUILD}') from error
    version.argtypes, version.restype = (), ctypes.c_uint32
    if (got := version()) != ABI_VERSION:
        versions = f'expected interface version {ABI_VERSION}, got {got}'
        raise VariantUnavailableError(f'{path}: {versions}; {_BUILD}')
    # Pointers are plain addresses, which are the cheapest to pass.
    address = ctypes.c_void_p
    library.sn_create.argtypes = (address, ctypes.c_size_t, ctypes.c_uint32, ctypes.POINTER(ctypes.c_void_p),
                                  ctypes.c_char_p, ctypes.c_size_t)
    library.sn_describe.argtypes = (address, ctypes.POINTER(NativeInfo))
    library.sn_run.argtypes = (address, address, ctypes.c_ssize_t, address, address)
    for function in (library.sn_create, library.sn_describe, library.sn_run):
        function.restype = ctypes.c_int
    library.sn_destroy.argtypes, library.sn_destroy.restype = (address,), None
    return library


class NativeBackend:
    """Runs a bundle's native variant. Used by one thread at a time; several may run in several threads.

    Args:
        model: a native variant.
        features: `enum sn_feature` bits that the kernels may use; by default all that the CPU has.

    Attributes:
        provider: the kernels that run, such as fp32-avx2.
        memory: bytes that the context holds.

    Raises:
        VariantUnavailableError: the library is missing, or has no kernels for this CPU.
        ModelError: the file does not match its card and graph.
    """

    name = 'native'

    def __init__(self, model: ResolvedModel, features: int = ANY_FEATURES):
        library = load_library()
        card = model.card
        self._what = str(model.path)
        if (card.input.layout, card.input.dtype) != ('NHWC', 'uint8'):
            raise mismatch(self._what, 'a card with input NHWC uint8, the only one for native kernels',
                           f'{card.input.layout} {card.input.dtype}', 'use backend onnxruntime')
        self._context = _create(library, model, features)
        weakref.finalize(self, library.sn_destroy, self._context)
        info = NativeInfo()
        library.sn_describe(self._context, ctypes.byref(info))
        _check_network(model, info)
        self.provider: str = info.kernels.decode()
        self.memory: int = info.memory
        self._run = library.sn_run
        self._shape = card.input.shape
        self._row_bytes = 3 * info.width
        self._classes = info.classes
        self._length = info.classes + (info.embedding if 'embedding' in card.outputs else 0)
        self._values = ctypes.c_float * self._length

    def run(self, tensor: npt.NDArray[Any]) -> Outputs:
        """A (1, H, W, 3) uint8 frame in the card's color order to logits (C,) and embedding (D,), float32.

        Raises:
            ModelError: a tensor of another shape or type, or the library returns an error.
        """
        if tensor.shape != self._shape or tensor.dtype != np.uint8:
            raise mismatch(self._what, f'uint8 {self._shape}', f'{tensor.dtype} {tensor.shape}',
                           'preprocess the image as the card says')
        _, row_bytes, pixel, byte = tensor.strides
        if (pixel, byte) != (3, 1) or row_bytes < self._row_bytes:
            tensor, row_bytes = np.ascontiguousarray(tensor), self._row_bytes
        # New memory for each frame: an earlier result may still be in use.
        memory = self._values()
        logits = ctypes.addressof(memory)
        embedding = logits + 4 * self._classes if self._length > self._classes else None
        frame = tensor.__array_interface__['data'][0]
        status = self._run(self._context, frame, row_bytes, logits, embedding)
        if status != _OK:
            raise ModelError(f'{self._what}: the native kernels failed on a frame with status {status}; '
                             'use backend onnxruntime, and report it')
        values = np.frombuffer(memory, np.float32)
        if embedding is None:
            return Outputs(values, None)
        return Outputs(values[:self._classes], values[self._classes:])


def _create(library: ctypes.CDLL, model: ResolvedModel, features: int) -> int:
    """A context's address."""
    context, reason = ctypes.c_void_p(), ctypes.create_string_buffer(_REASON_BYTES)
    status = library.sn_create(model.data, len(model.data), features, ctypes.byref(context), reason,
                               _REASON_BYTES)
    cause = reason.value.decode('utf-8', 'replace') or f'status {status}'
    if status == _UNSUPPORTED:
        raise VariantUnavailableError(f'{model.path}: {cause}; use another precision, or backend onnxruntime')
    if status != _OK or context.value is None:
        raise mismatch(str(model.path), 'a variant that the native kernels can run', cause, 'export it again')
    return context.value


def _check_network(model: ResolvedModel, info: NativeInfo) -> None:
    """Check the blob against the card, and against the graph that it must have been packed from."""
    bundle, card, variant = model.bundle, model.card, model.variant
    assert variant is not None, "the bundle's own graph never runs on the native kernels"
    graph, size = bytes(info.graph_sha256).hex(), (info.height, info.width)
    graphs = {'its card': variant.graph_sha256, bundle.path.name: bundle.facts.graph_sha256}
    checks: list[tuple[str, Any, Any]] = [
        (f'a variant of the graph {sha256}, that of {origin}', graph, sha256)
        for origin, sha256 in graphs.items() if sha256]
    checks += [
        (f'{variant.precision} (card field variants)', PRECISIONS[info.precision], variant.precision),
        (f'frames of {card.input.size} (card field input.size)', size, card.input.size),
        (f'{len(card.labels)} logits (card field labels)', info.classes, len(card.labels))]
    if 'embedding' in card.outputs:
        dim = card.embedding['dim']
        checks.append((f'an embedding of {dim} (card field embedding.dim)', info.embedding, dim))
    for expected, got, wanted in checks:
        if got != wanted:
            raise mismatch(str(model.path), expected, str(got), f'export {bundle.path.name} again')
