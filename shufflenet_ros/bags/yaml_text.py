"""YAML from outside, looked through before a parser builds anything of it."""

from pathlib import Path

import yaml

from shufflenet_ros.core.errors import ShuffleNetError
from shufflenet_ros.core.files import open_regular

MAX_DEPTH = 50
_LOADER = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)  # ten times as fast, where PyYAML has it


class YamlError(ShuffleNetError):
    """A YAML file that is not read; the message says what it has and what is expected, without its name."""


def read_yaml_text(path: Path, limit: int) -> str:
    """The text of a YAML file that needs no more memory than its size tells.

    Aliases are not taken: a few lines of them stand for billions of values.

    Raises:
        YamlError: larger than limit bytes, no YAML, an alias, or nested more than 50 deep.
        OSError: cannot be read, or not a regular file.
    """
    with open_regular(path) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise YamlError(f'more than {limit} bytes: expected at most {limit}')
    depth = 0
    try:
        text = data.decode()
        for event in yaml.parse(text, Loader=_LOADER):
            if isinstance(event, yaml.AliasEvent):
                raise YamlError(f'alias *{event.anchor}: expected none; write out what it stands for')
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise YamlError(f'nested more than {MAX_DEPTH} deep: expected a flat list or table')
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise YamlError(f'no YAML that can be read: {" ".join(str(error).split())[:200]}') from error
    return text
