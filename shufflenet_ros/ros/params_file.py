# SPDX-License-Identifier: Apache-2.0
"""Checks a parameter file for the launch file, before anything starts.

launch_ros only warns about a missing file, and ROS silently skips sections for other nodes. Either way the
node would run with its defaults.
"""

import os
import re
import stat
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from shufflenet_ros.core.errors import ShuffleNetError

_PARAMETERS = 'ros__parameters'
_REMEDY = 'give the path of a readable file, or omit params_file to use the shipped one'


class ParamsFileError(ShuffleNetError):
    """An unusable parameter file; the message has its path, what is expected, and what to do."""


def check_params_file(path: str, node: str) -> None:
    """Check that the file has parameters for the node.

    Args:
        path: as for launch_ros; a relative path is relative to launch's working directory.
        node: its fully qualified name, such as /robot1/shufflenet.

    Raises:
        ParamsFileError: no such file, invalid YAML, or no section for the node.
    """
    names = _names(path)
    if not any(_is_for(name, node) for name in names):
        got = f'sections for {", ".join(names)}' if names else f'no section with {_PARAMETERS}'
        raise ParamsFileError(
            f'params_file {path!r}: got {got}, expected one for {node}; name it /**, {node} or with '
            f'wildcards that match, such as /**/{node.rsplit("/", 1)[1]}')


def _names(path: str) -> list[str]:
    """The names of the file's sections, each once."""
    wrong = f'params_file {path!r}: expected a YAML parameter file, got'
    try:
        # launch_ros skips a file that is not regular, and opening a FIFO would wait for its writer.
        if not stat.S_ISREG(os.stat(path).st_mode):
            kind = 'a directory' if os.path.isdir(path) else 'a FIFO, socket or device'
            raise ParamsFileError(f'{wrong} {kind}; {_REMEDY}')
        with open(path, encoding='utf-8') as file:
            # This loader reads every value as text, which is enough: only names are used.
            return list(dict.fromkeys(_sections(yaml.load(file, yaml.BaseLoader))))
    except OSError as error:
        raise ParamsFileError(f'{wrong} {error.strerror} ({os.path.abspath(path)}); {_REMEDY}') from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        problem = ' '.join(str(error).split())[:300]
        raise ParamsFileError(f'{wrong} {problem}; correct it: config/classify.yaml is an example') from error


def _sections(content: Any, within: str = '') -> Iterator[str]:
    """Names of the nodes that the content has parameters for; sections can be nested by namespace."""
    if not isinstance(content, Mapping):
        return
    for key, value in content.items():
        if key == _PARAMETERS and within:
            yield within
        else:
            yield from _sections(value, f'{within}/{str(key).strip("/")}'.rstrip('/'))


def _is_for(section: str, node: str) -> bool:
    """Match like rclpy: * is one part of a name, ** any number of them."""
    pattern = re.escape(section).replace(r'/\*\*', r'(/\w+)*').replace(r'/\*', r'(/\w+)')
    return re.fullmatch(pattern, node, re.ASCII) is not None
