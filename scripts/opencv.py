# SPDX-License-Identifier: Apache-2.0
"""Make cv2 importable on a machine without the libraries of a desktop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from shell import SetupError, clean_environment, pip_install, run

SYSTEM_LIBRARIES = ('libGL', 'libgthread', 'libglib')


def import_error(venv: Path) -> str:
    """What `import cv2` says in that environment; '' when it works."""
    code = 'try:\n    import cv2\nexcept ImportError as error:\n    print(error)'
    return run([venv / 'bin/python', '-c', code], env=clean_environment()).strip()


def ensure_importable(venv: Path, error: Callable[[Path], str] = import_error) -> str | None:
    """Swap opencv-python for opencv-python-headless of the same version if a system library is missing.

    Returns a message for the user if it did, else None. Raises SetupError if cv2 fails for another reason,
    or still fails afterwards.
    """
    reason = error(venv)
    if not reason:
        return None
    if not any(library in reason for library in SYSTEM_LIBRARIES):
        raise SetupError(f'`import cv2` fails in {venv}: {reason}')
    script = 'from importlib.metadata import version; print(version("opencv-python"))'
    version = run([venv / 'bin/python', '-c', script]).strip()
    # Both packages install the folder cv2/, so one must go before the other comes.
    run([venv / 'bin/python', '-m', 'pip', 'uninstall', '--quiet', '--yes', 'opencv-python'])
    pip_install(venv, '--no-deps', f'opencv-python-headless=={version}')
    left = error(venv)
    if left:
        raise SetupError(f'`import cv2` fails in {venv} with opencv-python-headless too: {left}')
    return (f'this machine lacks a system library of OpenCV ({reason}): opencv-python-headless {version} '
            'takes the place of opencv-python')
