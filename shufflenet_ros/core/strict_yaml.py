"""YAML from outside: safe types alone, and each name of a mapping once."""

from collections import Counter
from typing import Any

import yaml


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
        ValueError: no YAML, a name twice in one mapping, or more levels than Python's stack has.
    """
    try:
        return yaml.load(data, _Loader)
    # PyYAML raises the others for values that do not fit their tag, such as !!bool foo.
    except (yaml.YAMLError, RecursionError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(' '.join(str(error).split())) from error
