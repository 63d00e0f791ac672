# SPDX-License-Identifier: Apache-2.0
"""Checks of ROS in this shell, then of the node. They run in a child process, because an RMW may end it."""

import importlib
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from shufflenet_ros.core.errors import ShuffleNetError
from shufflenet_ros.doctor.finding import Finding, error, ok, warn
from shufflenet_ros.doctor.processes import node_processes
from shufflenet_ros.ros.dds_profile import FAST_DDS_2, FAST_DDS_3, profile_variable

_MODULES = {
    'rclpy': 'source /opt/ros/$ROS_DISTRO/setup.bash with your distribution, or run make setup in the clone',
    'sensor_msgs.msg': 'sudo apt install ros-$ROS_DISTRO-sensor-msgs',
    'vision_msgs.msg': 'sudo apt install ros-$ROS_DISTRO-vision-msgs',
    'shufflenet_ros_msgs.msg': 'build src/shufflenet_ros/interfaces with colcon as in README, then '
                               'source install/setup.bash'}
_RANGES = ('SUBNET', 'LOCALHOST', 'OFF', 'SYSTEM_DEFAULT')


def check_modules() -> Iterator[Finding]:
    """Whether rclpy and the messages can be imported."""
    for module, remedy in _MODULES.items():
        try:
            importlib.import_module(module)
        except Exception as problem:
            text = ' '.join(f'{type(problem).__name__}: {problem}'.split())
            yield error('ROS', f'{module} cannot be imported: {text}', 'a sourced ROS 2', remedy)
            return


def check_discovery(environment: Mapping[str, str]) -> Iterator[Finding]:
    """The variables that decide which nodes are seen."""
    reach = environment.get('ROS_AUTOMATIC_DISCOVERY_RANGE') or 'SUBNET'
    found = f'ROS_DOMAIN_ID {environment.get("ROS_DOMAIN_ID") or 0}, range {reach}'
    for name in ('ROS_LOCALHOST_ONLY', 'ROS_STATIC_PEERS'):
        found += f', {name} {environment[name]}' if environment.get(name) else ''
    if reach == 'OFF' or reach not in _RANGES:
        yield error('discovery', found, 'SUBNET or LOCALHOST: no other node is discovered',
                    'unset ROS_AUTOMATIC_DISCOVERY_RANGE')
    else:
        local = reach == 'LOCALHOST' or environment.get('ROS_LOCALHOST_ONLY') == '1'
        yield ok('discovery', found + ': nodes of this machine only' * local)


def check_profile(environment: Mapping[str, str]) -> Iterator[Finding]:
    """The Fast DDS profile, which large images need."""
    wanted = profile_variable(environment)
    other = FAST_DDS_3 if wanted == FAST_DDS_2 else FAST_DDS_2
    file = environment.get(wanted)
    if file and not Path(file).is_file():
        yield warn('DDS profile', f'{wanted}: no file {file}', 'the path of a profile', f'unset {wanted}')
    elif not file and environment.get(other):
        yield warn('DDS profile', f'{other} is set, which this Fast DDS does not read', wanted,
                   f'export {wanted}=${other}; unset {other}')
    else:
        yield ok('DDS profile', f'{wanted} is {file or "not set; launch sets it for the node"}')


def _check_params_file(path: str, node: str) -> Iterator[Finding]:
    from shufflenet_ros.ros.params_file import check_params_file
    try:
        check_params_file(path, node)
        yield ok('params_file', f'{path} has a section for {node}')
    except ShuffleNetError as problem:
        text, _, remedy = str(problem).rpartition('; ')
        yield error('params_file', text, f'parameters for {node}', remedy)


def check(request: Mapping[str, Any]) -> Iterator[Finding]:
    """Every finding about ROS and the node; see `cli.doctor` for the request."""
    if request['params_file']:
        yield from _check_params_file(request['params_file'], request['node'] or '/shufflenet')
    yield from check_discovery(os.environ)
    problems = list(check_modules())
    yield from problems
    if problems:
        return
    from rclpy.context import Context
    from rclpy.utilities import get_rmw_implementation_identifier

    from shufflenet_ros.doctor.graph import check_graph
    from shufflenet_ros.ros.probe import probe_node
    rmw, context = get_rmw_implementation_identifier(), Context()
    yield ok('ROS', f'{os.environ.get("ROS_DISTRO", "no distribution sourced, rclpy from pip")}, {rmw}')
    if 'fastrtps' in rmw:
        yield from check_profile(os.environ)
    try:
        context.init()
    except Exception as problem:  # rclpy raises various kinds
        yield error('ROS', f'{type(problem).__name__}: {problem}', 'that ROS starts',
                    'correct ROS_DOMAIN_ID (0 to 101) and RMW_IMPLEMENTATION')
        return
    try:
        left = max(2.0, request['until'] - time.monotonic() - 1.0)  # imports may have taken long
        seconds = min(request['seconds'], left / 2)  # the other half is for discovery
        with probe_node(context, request['node'] or '', request['image_topic'], seconds, left) as seen:
            yield from check_graph(seen, list(node_processes(Path(request['root']), os.environ)))
    finally:
        context.try_shutdown()  # otherwise other nodes keep this one in their graph for a while
