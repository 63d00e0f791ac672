# SPDX-License-Identifier: Apache-2.0
"""Start the backend that a model file needs."""

from shufflenet_ros.bundles.variants import ResolvedModel
from shufflenet_ros.core.frame import Backend


def start(model: ResolvedModel, provider: str = 'cpu', threads: int = 1) -> Backend:
    """A backend with the file loaded and checked against its card; `verify` comes next.

    Args:
        provider, threads: of onnxruntime; the native kernels run on one CPU core.

    Raises:
        VariantUnavailableError: this machine lacks the backend.
        ModelError: the file or its card cannot be used.
    """
    # Imported here: a robot that runs native kernels keeps onnxruntime out of memory.
    if model.variant is not None and model.variant.backend == 'native':
        from shufflenet_ros.backends.native import NativeBackend
        return NativeBackend(model)
    from shufflenet_ros.backends.ort import OnnxRuntimeBackend
    return OnnxRuntimeBackend(model, provider, threads)
