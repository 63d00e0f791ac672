# SPDX-License-Identifier: Apache-2.0
"""Find and load our C library; native/include/shufflenet_native.h is its interface."""

import ctypes
import functools
import os
from pathlib import Path

from shufflenet_ros.backends.remedies import BUILD_NATIVE
from shufflenet_ros.bundles.errors import mismatch
from shufflenet_ros.bundles.variants import VariantUnavailableError

ABI_VERSION = 1
FILE = 'libshufflenet_native.so'
VARIABLE = 'SHUFFLENET_NATIVE_LIBRARY'
"""Environment variable with the path of another library, for tests and cross checks."""

OK, UNSUPPORTED = 0, 3
ANY_FEATURES = 0xFFFFFFFF
"""Allows every kernel that the CPU can run."""


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


@functools.cache
def _load(path: Path) -> ctypes.CDLL:
    if not path.is_file():
        if os.environ.get(VARIABLE):
            raise VariantUnavailableError(f'{path}: no such file; correct {VARIABLE}, or unset it')
        raise VariantUnavailableError('the native kernels are not built: no working C compiler was found '
                                      f'when the package was built; {BUILD_NATIVE}')
    try:
        library = ctypes.CDLL(str(path))
        version = library.sn_abi_version
    except OSError as error:
        raise VariantUnavailableError(f'{path}: cannot be loaded: {error}; {BUILD_NATIVE}') from error
    except AttributeError as error:
        cause = f'{path}: not {FILE}: it has no sn_abi_version'
        raise VariantUnavailableError(f'{cause}; {BUILD_NATIVE}') from error
    version.argtypes, version.restype = (), ctypes.c_uint32
    if (got := version()) != ABI_VERSION:
        expected = f'interface version {ABI_VERSION}'
        raise VariantUnavailableError(str(mismatch(str(path), expected, str(got), BUILD_NATIVE)))
    _declare(library)
    return library


def _declare(library: ctypes.CDLL) -> None:
    """Types of arguments and results; pointers are plain addresses, which are the cheapest to pass."""
    address = ctypes.c_void_p
    library.sn_create.argtypes = (address, ctypes.c_size_t, ctypes.c_uint32, ctypes.POINTER(ctypes.c_void_p),
                                  ctypes.c_char_p, ctypes.c_size_t)
    library.sn_describe.argtypes = (address, ctypes.POINTER(NativeInfo))
    library.sn_run.argtypes = (address, address, ctypes.c_ssize_t, address, address)
    for function in (library.sn_create, library.sn_describe, library.sn_run):
        function.restype = ctypes.c_int
    library.sn_destroy.argtypes, library.sn_destroy.restype = (address,), None
