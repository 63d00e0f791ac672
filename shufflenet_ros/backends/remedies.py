# SPDX-License-Identifier: Apache-2.0
"""What to type on this machine if a backend lacks something."""

import shlex
import sys
import sysconfig
from pathlib import Path

BUILD_NATIVE = ('install a C compiler (sudo apt install gcc), then build shufflenet_ros again with '
                '`colcon build` or `pip install`')


def pip_install_no_deps(package: str) -> str:
    """The command that installs one package for the running Python without changing any other.

    Without --no-deps pip brings NumPy 2, with which Ubuntu 22.04's OpenCV cannot be imported. If
    the distribution protects its Python from pip (PEP 668), pip needs one more option.
    """
    options = ['--no-deps']
    if sys.prefix == sys.base_prefix:  # no virtual environment
        options.append('--user')
        if Path(sysconfig.get_path('stdlib'), 'EXTERNALLY-MANAGED').is_file():
            options.append('--break-system-packages')
    return shlex.join([sys.executable, '-m', 'pip', 'install', *options, package])
