# SPDX-License-Identifier: Apache-2.0
"""A recording stand-in for launch and launch_ros, which are not on pip.

It knows only what classify.launch.py uses: anything new there fails with its name. Imported, it starts
nothing, but computes the command line that launch_ros would give the node. Run as a program, with launch
arguments, it becomes the installed node.
"""

from __future__ import annotations

import os
import runpy
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import yaml

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Context:
    """Launch arguments by name, the environment of `ros2 launch` itself, and what a description did."""

    launch_configurations: dict[str, str]
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    packages: set[str] = field(default_factory=set)
    nodes: list[LifecycleNode] = field(default_factory=list)


@dataclass(frozen=True)
class LaunchConfiguration:
    name: str

    def perform(self, context: Context) -> str:
        return context.launch_configurations[self.name]


@dataclass(frozen=True)
class FindPackageShare:
    package: str

    def perform(self, context: Context) -> str:
        """The source tree has the layout of the share folder."""
        context.packages.add(self.package)
        return str(ROOT)


@dataclass(frozen=True)
class PathJoinSubstitution:
    parts: Sequence[Any]

    def perform(self, context: Context) -> str:
        return str(Path(*(text(part, context) for part in self.parts)))


@dataclass(frozen=True)
class ParameterValue:
    value: Any
    value_type: type

    def evaluate(self, context: Context) -> Any:
        shown = text(self.value, context)
        return yaml.safe_load(shown) if self.value_type is bool else self.value_type(shown)


@dataclass(frozen=True)
class DeclareLaunchArgument:
    name: str
    default_value: Any
    description: str

    def execute(self, context: Context) -> None:
        context.launch_configurations.setdefault(self.name, text(self.default_value, context))


@dataclass(frozen=True)
class OpaqueFunction:
    function: Any

    def execute(self, context: Context) -> None:
        for action in self.function(context):
            action.execute(context)


@dataclass(frozen=True)
class LaunchDescription:
    entities: Sequence[Any]


NODE_OPTIONS = {'package', 'executable', 'name', 'namespace', 'parameters', 'remappings', 'arguments',
                'additional_env', 'respawn', 'respawn_delay', 'output', 'emulate_tty'}


class LifecycleNode(SimpleNamespace):
    def __init__(self, **options: Any) -> None:
        assert options.keys() <= NODE_OPTIONS, options.keys() - NODE_OPTIONS
        super().__init__(**options)

    def execute(self, context: Context) -> None:
        context.nodes.append(self)

    def own_environment(self, context: Context) -> dict[str, str]:
        """Variables that only the node's process gets."""
        return {name: text(value, context) for name, value in self.additional_env.items()}

    def own_parameters(self, context: Context) -> dict[str, Any]:
        """Parameters that the launch file sets itself, after the parameter file."""
        given = [source for source in self.parameters if isinstance(source, Mapping)]
        return {name: value.evaluate(context) if isinstance(value, ParameterValue) else value
                for source in given for name, value in source.items()}

    def command_line(self, context: Context, folder: Path) -> list[str]:
        """The arguments that launch_ros gives to the executable."""
        words = [*self.arguments, '--ros-args', '-r', f'__node:={self.name}']
        if self.namespace:
            words += ['-r', f'__ns:=/{self.namespace.strip("/")}']
        for number, source in enumerate(self.parameters):
            path = str(source)
            if isinstance(source, Mapping):
                own = {'/**': {'ros__parameters': self.own_parameters(context)}}
                path = str(folder / f'parameters_{number}.yaml')
                Path(path).write_text(yaml.safe_dump(own))
            words += ['--params-file', path]
        return words + [word for a, b in self.remappings for word in ('-r', f'{a}:={b}')]


def prefix_namespace(base: str | None, namespace: str) -> str:
    """A relative namespace inside the one that a group has pushed."""
    joined = f'{base.rstrip("/")}/{namespace}' if base and not namespace.startswith('/') else namespace
    return joined.rstrip('/') or joined


def make_namespace_absolute(namespace: str) -> str:
    """With a slash at its start."""
    return namespace if namespace.startswith('/') else f'/{namespace}'


def text(value: Any, context: Context) -> str:
    """The string that a substitution or a string stands for."""
    return str(value.perform(context)) if hasattr(value, 'perform') else str(value)


def load() -> SimpleNamespace:
    """The names in the real launch file, with the stand-in in place of launch and launch_ros."""
    here = sys.modules[__name__]
    names = ('launch', 'launch.actions', 'launch.substitutions', 'launch_ros', 'launch_ros.actions',
             'launch_ros.parameter_descriptions', 'launch_ros.substitutions', 'launch_ros.utilities')
    with mock.patch.dict(sys.modules, dict.fromkeys(names, here)):
        return SimpleNamespace(**runpy.run_path(str(ROOT / 'launch' / 'classify.launch.py')))


def run(**arguments: str) -> Context:
    """Execute the launch file's description with these launch arguments."""
    context = Context(dict(arguments))
    for entity in load().generate_launch_description().entities:
        entity.execute(context)
    return context


if __name__ == '__main__':
    from ament_index_python.packages import get_package_prefix, get_package_share_directory

    ROOT = Path(get_package_share_directory('shufflenet_ros'))
    started = run(**dict(word.split(':=', 1) for word in sys.argv[1:]))
    node, = started.nodes
    program = Path(get_package_prefix(node.package), 'lib', node.package, node.executable)
    command = [str(program), *node.command_line(started, Path(tempfile.mkdtemp()))]
    os.execve(program, command, {**os.environ, **node.own_environment(started)})
