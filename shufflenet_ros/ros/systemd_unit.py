# SPDX-License-Identifier: Apache-2.0
"""Fills the facts of a machine into config/shufflenet.service.

ExecStart starts the node itself, not `ros2 launch`: systemd then watches and signals the right process, while
launch would take the signal and can leave the node running.
"""

import json
import os
import pwd
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shufflenet_ros.bundles.locate import is_path, model_directories
from shufflenet_ros.core.errors import ShuffleNetError
from shufflenet_ros.ros.dds_profile import variable_to_set
from shufflenet_ros.ros.launch_arguments import remappings, split_cameras
from shufflenet_ros.ros.params_file import check_params_file

BEGIN, END = '# Begin of the facts of this machine.', '# End of the facts of this machine.'
# Variables of the shell in which the node works, and which it also needs at boot.
ENVIRONMENT = (
    'ROS_DOMAIN_ID', 'ROS_AUTOMATIC_DISCOVERY_RANGE', 'ROS_STATIC_PEERS', 'ROS_LOCALHOST_ONLY',
    'ROS_DISCOVERY_SERVER', 'RMW_IMPLEMENTATION', 'CYCLONEDDS_URI', 'FASTDDS_DEFAULT_PROFILES_FILE',
    'FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_BUILTIN_TRANSPORTS', 'ROS_SECURITY_ENABLE',
    'ROS_SECURITY_STRATEGY', 'ROS_SECURITY_KEYSTORE', 'ROS_SECURITY_ENCLAVE_OVERRIDE')
_TEXTS = ('model', 'image_transport', 'backend', 'precision')  # parameters of the same name
ARGUMENTS = (*_TEXTS, 'cameras', 'image_topic', 'params_file', 'namespace', 'use_sim_time', 'log_level',
             'autostart')
_NAME = (r'/?[A-Za-z_]\w*(/[A-Za-z_]\w*)*', 'a ROS name, such as camera/image_raw')
_BOOL = ('true|false', 'true or false')
_FORMS = {  # regular expression, and the same in words
    'image_topic': _NAME, 'namespace': _NAME, 'autostart': _BOOL, 'use_sim_time': _BOOL,
    'log_level': ('debug|info|warn|error|fatal', 'debug, info, warn, error or fatal'),
    '--memory-max': ('[1-9][0-9]*[KMGT]?|[1-9][0-9]?%|infinity', 'bytes, such as 1G; or a share: 50%')}
_USER_REMEDY = 'give the user who runs the camera driver with --user'


class ServiceError(ShuffleNetError):
    """No unit can be made; the message has the value, what is expected, and what to do."""


@dataclass(frozen=True)
class Installation:
    """Where the package runs from.

    Attributes:
        setups: files that bash sources before it starts the node.
        node: the executable classify_node.
        share: the folder that has `config`.
    """

    setups: tuple[str, ...]
    node: str
    share: str


def find_installation(environment: Mapping[str, str]) -> Installation:
    """The installation that a shell with this environment runs.

    Raises:
        ServiceError: it is not complete.
    """
    setups = [Path('/opt/ros', environment.get('ROS_DISTRO') or '-', 'setup.bash')]
    node = Path(sys.executable).with_name('classify_node')  # in a virtual environment
    for prefix in map(Path, filter(None, environment.get('AMENT_PREFIX_PATH', '').split(os.pathsep))):
        if (installed := prefix / 'lib' / 'shufflenet_ros' / 'classify_node').is_file():
            node = installed
            # `colcon build` gives each package its own prefix; with --merge-install they share one.
            setups += [prefix / 'setup.bash', prefix.parent / 'setup.bash']
            break
    share = [folder.parent for folder in model_directories() if (folder.parent / 'config').is_dir()]
    if not node.is_file() or not share:
        raise ServiceError(f'got no classify_node in AMENT_PREFIX_PATH and none at {node}, expected an '
                           'installation; build the workspace and source its install/setup.bash')
    found = dict.fromkeys(str(setup) for setup in setups if setup.is_file())
    return Installation(tuple(found), str(node), str(share[0]))


def _check_form(name: str, value: str) -> None:
    pattern, words = _FORMS[name]
    if not re.fullmatch(pattern, value, re.ASCII):
        raise ServiceError(f'{name}: got {value!r}, expected {words}')


def node_words(installation: Installation, arguments: Mapping[str, str]) -> list[str]:
    """The node's command line for these launch arguments.

    Raises:
        ShuffleNetError: an invalid argument.
    """
    from shufflenet_ros.ros.parameters import validate  # needs ROS

    if unknown := sorted(set(arguments) - set(ARGUMENTS)):
        raise ServiceError(f'launch argument {unknown[0]!r}: expected one of {", ".join(ARGUMENTS)}')
    given = {name: value for name, value in arguments.items() if value}
    for name in _FORMS.keys() & given.keys():
        _check_form(name, given[name])
    namespace = f'/{given["namespace"].strip("/")}' if 'namespace' in given else ''
    params = os.path.abspath(given.get('params_file') or f'{installation.share}/config/classify.yaml')
    check_params_file(params, f'{namespace}/shufflenet')
    cameras = split_cameras(given.get('cameras', ''))
    values: dict[str, str | list[str] | bool] = {name: given[name] for name in _TEXTS if name in given}
    if is_path(given.get('model', '')):
        values['model'] = os.path.abspath(given['model'])
    if cameras:
        values['cameras'] = cameras
    for name, value in values.items():
        validate(name, value)
    values['autostart'] = given.get('autostart', 'true') == 'true'
    values['use_sim_time'] = given.get('use_sim_time', 'false') == 'true'
    words = ['--ros-args', '--log-level', given.get('log_level', 'info'), '--params-file', params]
    if namespace:
        words += ['-r', f'__ns:={namespace}']
    for name, value in values.items():  # JSON is YAML, and keeps text such as 1.0 text
        words += ['-p', f'{name}:={json.dumps(value, ensure_ascii=False)}']
    for old, new in remappings(cameras, given.get('image_topic', 'image_raw')):
        words += ['-r', f'{old}:={new}']
    return words


def home_of(user: str) -> str:
    """The home folder of the user that runs the node.

    Raises:
        ServiceError: no such user, or root.
    """
    try:
        found = pwd.getpwnam(user)
    except (KeyError, ValueError) as error:
        raise ServiceError(f'user {user!r}: not on this machine; {_USER_REMEDY}') from error
    if found.pw_uid == 0:
        raise ServiceError(f'user {user!r}: has all privileges, and the node needs none; {_USER_REMEDY}')
    return found.pw_dir


def facts(installation: Installation, words: Sequence[str], environment: Mapping[str, str], user: str,
          home: str, memory_max: str) -> list[str]:
    """The lines of the unit that depend on the machine.

    Raises:
        ServiceError: a value that a unit can't hold.
    """
    _check_form('--memory-max', memory_max)
    kept = {name: environment[name] for name in ENVIRONMENT if name in environment}
    if variable := variable_to_set(environment):
        kept[variable] = f'{installation.share}/config/fastdds_large_images.xml'
    sources = ''.join(f'source {shlex.quote(setup)}; ' for setup in installation.setups)
    script = f'{sources}exec {shlex.join([installation.node, *words])}'
    return [f'User={user}',
            *(f'Environment={quoted(f"{name}={value}")}' for name, value in kept.items()),
            f'ExecStart=/bin/bash -c {quoted(script, dollar="$$")}',
            f'ReadWritePaths={quoted(f"-{home}/.cache/shufflenet_ros")}',
            f'MemoryMax={memory_max}']


def quoted(text: str, dollar: str = '$') -> str:
    """One word of a unit file.

    Args:
        dollar: what stands for a dollar; a command line needs two.

    Raises:
        ServiceError: the text has a character that can't be in a unit file.
    """
    if not text.isprintable():
        raise ServiceError(f'got {text!r}, expected printable characters in a path or value; rename it')
    for plain, escaped in (('\\', '\\\\'), ('"', '\\"'), ('%', '%%'), ('$', dollar)):
        text = text.replace(plain, escaped)
    return f'"{text}"'


def fill(template: str, lines: Sequence[str]) -> list[str]:
    """The lines of config/shufflenet.service, with these lines between its two marks."""
    before, rest = template.split(BEGIN)
    return [*before.splitlines(), BEGIN, *lines, END, *rest.split(END)[1].splitlines()[1:]]
