"""What to type on this machine where a backend lacks something."""

import shlex
import sys
import sysconfig
from pathlib import Path

BUILD_NATIVE = ('install a C compiler (sudo apt install gcc), then build shufflenet_ros again with '
                '`colcon build` or `pip install`')


def pip_install_alone(package: str) -> str:
    """The command that installs one package for the Python that runs this, and changes no other package.

    Without --no-deps pip brings NumPy 2 along, under which Ubuntu 22.04's OpenCV cannot be imported. Where
    the distribution guards its Python against pip (PEP 668), pip has to be told.
    """
    options = ['--no-deps']
    if sys.prefix == sys.base_prefix:  # no virtual environment
        options.append('--user')
        if Path(sysconfig.get_path('stdlib'), 'EXTERNALLY-MANAGED').is_file():
            options.append('--break-system-packages')
    return shlex.join([sys.executable, '-m', 'pip', 'install', *options, package])
