# SPDX-License-Identifier: Apache-2.0
"""YAML from outside: safe types only, no key twice, and limits for untrusted files."""

from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from shufflenet_ros.core.errors import ShuffleNetError
from shufflenet_ros.core.files import open_regular

MAX_DEPTH = 50
_EVENT_LOADER = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)  # ten times as fast, where PyYAML has it


class YamlError(ShuffleNetError):
    """YAML that is rejected. Callers add the file's name."""


class _Loader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        counts = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        for name, count in counts.items():
            if count > 1:
                raise yaml.constructor.ConstructorError(
                    problem=f'{name[:80]!r} is in one mapping twice; expected each name once',
                    problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)


def read_yaml(data: str | bytes) -> Any:
    """The values of a YAML text.

    Raises:
        YamlError: the parser's message, or a key twice in one mapping.
    """
    try:
        return yaml.load(data, _Loader)
    # PyYAML raises the others for values that do not fit their tag, such as !!bool foo.
    except (yaml.YAMLError, RecursionError, KeyError, TypeError, AttributeError, IndexError,
            ValueError) as error:
        raise YamlError(' '.join(str(error).split())) from error


def read_yaml_file(path: Path, max_bytes: int) -> Any:
    """The values of a YAML file of bounded size, without aliases.

    Raises:
        YamlError, OSError: see `read_yaml` and `bounded_yaml_text`.
    """
    text = bounded_yaml_text(path, max_bytes)
    try:
        return read_yaml(text)
    except YamlError as error:
        raise _invalid(error) from error


def bounded_yaml_text(path: Path, max_bytes: int) -> str:
    """The text of a YAML file that takes no more memory to parse than its size suggests.

    Aliases are rejected: a few lines of them expand to billions of values.

    Raises:
        YamlError: larger than max_bytes, invalid YAML, an alias, or more than MAX_DEPTH levels.
        OSError: cannot be read, or not a regular file.
    """
    with open_regular(path) as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise YamlError(f'more than {max_bytes} bytes: expected at most {max_bytes}')
    depth = 0
    try:
        text = data.decode()
        for event in yaml.parse(text, Loader=_EVENT_LOADER):
            if isinstance(event, yaml.AliasEvent):
                raise YamlError(f'alias *{event.anchor}: expected none; write out what it refers to')
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise YamlError(f'nested more than {MAX_DEPTH} levels deep: expected a flat list or table')
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise _invalid(error) from error
    return text


def _invalid(error: Exception) -> YamlError:
    return YamlError(f'not valid YAML: {" ".join(str(error).split())[:200]}')
