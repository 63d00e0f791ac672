"""What the launch file checks of a parameter file before anything starts.

launch_ros only warns of a file that is not there, and ROS skips sections for other nodes in silence: either
way the node would run with its defaults.
"""

import os
import re
import stat
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from shufflenet_ros.core.errors import ShuffleNetError

_PARAMETERS = 'ros__parameters'
_REMEDY = 'give the path of a file that can be read, or leave params_file out for the shipped one'


class ParamsFileError(ShuffleNetError):
    """A parameter file that cannot be used; the message says which, what is expected, what to do."""


def check_params_file(path: str, node: str) -> None:
    """Return if the file has parameters for the node.

    Args:
        path: as launch_ros takes it; a relative one is relative to where launch was started.
        node: its name in full, such as /robot1/shufflenet.

    Raises:
        ParamsFileError: no file, no YAML, or no section for the node.
    """
    names = _names(path)
    if not any(_is_for(name, node) for name in names):
        got = f'sections for {", ".join(names)}' if names else f'no section with {_PARAMETERS}'
        raise ParamsFileError(
            f'params_file {path!r}: got {got}, expected one for {node}; name it /**, {node} or with '
            f'wildcards that match, such as /**/{node.rsplit("/", 1)[1]}')


def _names(path: str) -> list[str]:
    """The nodes that a file has sections for, each once."""
    wrong = f'params_file {path!r}: expected a YAML parameter file, got'
    try:
        # launch_ros skips what is no regular file, and to open a FIFO waits for its writer.
        if not stat.S_ISREG(os.stat(path).st_mode):
            kind = 'a directory' if os.path.isdir(path) else 'no regular file'
            raise ParamsFileError(f'{wrong} {kind}; {_REMEDY}')
        with open(path, encoding='utf-8') as file:
            # Everything is text to this loader: only names are looked at.
            return list(dict.fromkeys(_sections(yaml.load(file, yaml.BaseLoader))))
    except OSError as error:
        raise ParamsFileError(f'{wrong} {error.strerror} ({os.path.abspath(path)}); {_REMEDY}') from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        problem = ' '.join(str(error).split())[:300]
        raise ParamsFileError(f'{wrong} {problem}; correct it: config/classify.yaml is an example') from error


def _sections(content: Any, within: str = '') -> Iterator[str]:
    """The names of the nodes that a file has parameters for; a section may lie in one for its namespace."""
    if not isinstance(content, Mapping):
        return
    for key, value in content.items():
        if key == _PARAMETERS and within:
            yield within
        else:
            yield from _sections(value, f'{within}/{str(key).strip("/")}'.rstrip('/'))


def _is_for(section: str, node: str) -> bool:
    """As rclpy matches them: * is one part of a name, ** any number of them."""
    pattern = re.escape(section).replace(r'/\*\*', r'(/\w+)*').replace(r'/\*', r'(/\w+)')
    return re.fullmatch(pattern, node, re.ASCII) is not None
