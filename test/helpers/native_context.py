# SPDX-License-Identifier: Apache-2.0
"""One context of the C library for a blob without a bundle."""

from __future__ import annotations

import ctypes

import numpy as np

from shufflenet_ros.backends.native import ANY_FEATURES, NativeInfo, load_library


class BlobError(Exception):
    """sn_create's status and reason."""


class Context:
    """A blob that runs: call it with a (H, W, 3) uint8 frame for (logits, embedding)."""

    def __init__(self, blob: bytes, features: int = ANY_FEATURES):
        self._library = load_library()
        self._handle = ctypes.c_void_p()
        reason = ctypes.create_string_buffer(200)
        data = ctypes.create_string_buffer(blob, len(blob))
        status = self._library.sn_create(ctypes.addressof(data), len(blob), features,
                                         ctypes.byref(self._handle), reason, len(reason))
        if status:
            raise BlobError(f'{status}: {reason.value.decode()}')
        self.info = NativeInfo()
        self._library.sn_describe(self._handle, ctypes.byref(self.info))

    @property
    def kernels(self) -> str:
        """Name of the chosen set."""
        return self.info.kernels.decode()

    def __call__(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        assert frame.shape == (self.info.height, self.info.width, 3) and frame.strides[1:] == (3, 1)
        logits = np.full(self.info.classes, np.nan, np.float32)
        embedding = np.full(self.info.embedding, np.nan, np.float32)
        assert self._library.sn_run(self._handle, frame.ctypes.data, frame.strides[0], logits.ctypes.data,
                                    embedding.ctypes.data) == 0
        return logits, embedding

    def __del__(self) -> None:
        if self._handle:
            self._library.sn_destroy(self._handle)
