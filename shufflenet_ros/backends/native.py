# SPDX-License-Identifier: Apache-2.0
"""The native backend: our own C kernels, one thread, from the camera's bytes to logits and embedding."""

import ctypes
import weakref
from typing import Any

import numpy as np
import numpy.typing as npt

from shufflenet_ros.backends.native_library import ANY_FEATURES, OK, UNSUPPORTED, NativeInfo, load_library
from shufflenet_ros.bundles.errors import ModelError, mismatch
from shufflenet_ros.bundles.variants import PRECISIONS, ResolvedModel, VariantUnavailableError
from shufflenet_ros.core.card import Card
from shufflenet_ros.core.frame import Outputs

_REASON_BYTES = 512


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
        _check_input(self._what, card)
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
        if status != OK:
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
    if status == UNSUPPORTED:
        raise VariantUnavailableError(f'{model.path}: {cause}; use another precision, or backend onnxruntime')
    if status != OK or context.value is None:
        raise mismatch(str(model.path), 'a variant that the native kernels can run', cause, 'export it again')
    return context.value


def _check_input(what: str, card: Card) -> None:
    if (card.input.layout, card.input.dtype) != ('NHWC', 'uint8'):
        raise mismatch(what, 'a card with input NHWC uint8, the only one for native kernels',
                       f'{card.input.layout} {card.input.dtype}', 'use backend onnxruntime')


def _check_network(model: ResolvedModel, info: NativeInfo) -> None:
    """Check the blob against the card, and against the graph that it must have been packed from."""
    bundle, variant = model.bundle, model.variant
    assert variant is not None, "the bundle's own graph never runs on the native kernels"
    card, what, again = bundle.card, str(model.path), f'export {bundle.path.name} again'
    graph = bytes(info.graph_sha256).hex()
    expected_graphs = {'its card': variant.graph_sha256, bundle.path.name: bundle.facts.graph_sha256}
    for origin, expected in expected_graphs.items():
        if expected and graph != expected:
            raise mismatch(what, f'a variant of the graph {expected}, that of {origin}', graph, again)
    if (precision := PRECISIONS[info.precision]) != variant.precision:
        raise mismatch(what, f'{variant.precision} (card field variants)', precision, again)
    if (info.height, info.width) != card.input.size:
        raise mismatch(what, f'frames of {card.input.size} (card field input.size)',
                       f'{(info.height, info.width)}', again)
    if info.classes != len(card.labels):
        raise mismatch(what, f'{len(card.labels)} logits (card field labels)', str(info.classes), again)
    if 'embedding' in card.outputs and info.embedding != card.embedding['dim']:
        raise mismatch(what, f'an embedding of {card.embedding["dim"]} (card field embedding.dim)',
                       str(info.embedding), again)
