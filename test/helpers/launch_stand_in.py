# SPDX-License-Identifier: Apache-2.0
"""A recording stand-in for launch and launch_ros, which are not on pip.

It knows what classify.launch.py uses and nothing else: anything new there fails here by name. It starts
nothing; it works out the command line that launch_ros would give the node.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
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


@dataclass(frozen=True, kw_only=True)
class LifecycleNode:
    package: str
    executable: str
    name: str
    namespace: str
    parameters: Sequence[Any]
    remappings: Sequence[tuple[str, str]]
    arguments: Sequence[str]
    additional_env: Mapping[str, Any]
    respawn: bool
    respawn_delay: float
    output: str
    emulate_tty: bool

    def execute(self, context: Context) -> None:
        context.nodes.append(self)

    def own_environment(self, context: Context) -> dict[str, str]:
        """What the node's process has beside the environment of `ros2 launch`."""
        return {name: text(value, context) for name, value in self.additional_env.items()}

    def own_parameters(self, context: Context) -> dict[str, Any]:
        """Those that the launch file sets itself, behind the parameter file."""
        given = [source for source in self.parameters if isinstance(source, Mapping)]
        return {name: value.evaluate(context) if isinstance(value, ParameterValue) else value
                for source in given for name, value in source.items()}

    def command_line(self, context: Context, folder: Path) -> list[str]:
        """What launch_ros puts behind the executable."""
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
    """With a slash in front."""
    return namespace if namespace.startswith('/') else f'/{namespace}'


def text(value: Any, context: Context) -> str:
    """A substitution or a text, as a text."""
    return str(value.perform(context)) if hasattr(value, 'perform') else str(value)


def load() -> ModuleType:
    """The real launch file, with the stand-in in place of launch and launch_ros."""
    here = sys.modules[__name__]
    names = ('launch', 'launch.actions', 'launch.substitutions', 'launch_ros', 'launch_ros.actions',
             'launch_ros.parameter_descriptions', 'launch_ros.substitutions', 'launch_ros.utilities')
    spec = importlib.util.spec_from_file_location('classify_launch', ROOT / 'launch' / 'classify.launch.py')
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with mock.patch.dict(sys.modules, dict.fromkeys(names, here)):
        spec.loader.exec_module(module)
    return module


def run(**arguments: str) -> Context:
    """Execute the launch file's description with these launch arguments."""
    context = Context(dict(arguments))
    for entity in load().generate_launch_description().entities:
        entity.execute(context)
    return context
