# SPDX-License-Identifier: Apache-2.0
"""The launch file: what it refers to exists, and the node runs with the arguments that it produces.

CI has no launch packages, so a recording stand-in executes the file there. Where the real ones are installed,
the real launch starts the node.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from importlib import import_module
from pathlib import Path

import launch_stand_in
import pytest
from driving import driver
from rcl_interfaces.srv import GetParameters
from replaying import NODE, process, wait_for

from shufflenet_ros.ros.launch_arguments import LaunchArgumentError, remappings
from shufflenet_ros.ros.parameters import TABLE, validate
from shufflenet_ros.ros.params_file import ParamsFileError

ARGUMENTS = {'model', 'cameras', 'image_topic', 'image_transport', 'params_file', 'namespace', 'use_sim_time',
             'log_level', 'autostart', 'respawn', 'backend', 'precision'}
PROFILES = ('FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE')  # Fast DDS 3 and 2


@pytest.fixture
def no_profiles(monkeypatch):
    for name in (*PROFILES, 'ROS_DISTRO'):
        monkeypatch.delenv(name, raising=False)


def only_node(context: launch_stand_in.Context) -> launch_stand_in.LifecycleNode:
    node, = context.nodes
    return node


def test_every_argument_is_there_and_described(no_profiles):
    description = launch_stand_in.load().generate_launch_description()
    declared = {entity.name: entity for entity in description.entities
                if isinstance(entity, launch_stand_in.DeclareLaunchArgument)}
    assert set(declared) == ARGUMENTS
    assert all(len(argument.description) > 10 for argument in declared.values())


def test_what_it_refers_to_exists(repo_root, no_profiles):
    context = launch_stand_in.run(model='m', cameras='a,b', image_transport='raw', backend='native',
                                  precision='int8')
    node = only_node(context)
    assert {node.package} | context.packages == {ET.parse(repo_root / 'package.xml').findtext('name')}
    setup = (repo_root / 'setup.py').read_text()
    (module, function), = re.findall(rf"'{node.executable} = ([\w.]+):(\w+)'", setup)
    assert callable(getattr(import_module(module), function))
    files = [Path(source) for source in node.parameters if isinstance(source, str)]
    files += [Path(value) for value in node.own_environment(context).values()]
    assert {file.name for file in files} == {'classify.yaml', 'fastdds_large_images.xml'}
    for file in files:
        assert file.is_file() and file.parent == repo_root / 'config'
        assert f"glob('{file.parent.name}/*" in setup, 'it gets installed'
    own = node.own_parameters(context)
    assert set(own) == {'model', 'cameras', 'image_transport', 'backend', 'precision', 'autostart',
                        'use_sim_time'}
    for name, value in own.items():
        assert name == 'use_sim_time' or validate(name, value) == value


def test_defaults_leave_the_parameter_file_alone(no_profiles):
    context = launch_stand_in.run()
    node = only_node(context)
    assert node.own_parameters(context) == {'autostart': True, 'use_sim_time': False}
    assert node.remappings == [] and node.namespace == '' and not node.respawn


def test_respawn_starts_the_node_again_after_a_second(no_profiles):
    node = only_node(launch_stand_in.run(respawn='true'))
    assert node.respawn is True and node.respawn_delay == 1.0


def test_remappings_per_camera():
    assert remappings([], '/camera/image') == [('image_raw', '/camera/image')]
    assert remappings(['a', 'b/c'], 'color') == [('a/image_raw', 'a/color'), ('b/c/image_raw', 'b/c/color')]
    with pytest.raises(LaunchArgumentError, match=r"image_topic: got '/camera' .* relative"):
        remappings(['a'], '/camera')


@pytest.mark.parametrize(('distribution', 'variable'), [
    ('humble', PROFILES[1]), ('jazzy', PROFILES[1]), ('kilted', PROFILES[0]), ('lyrical', PROFILES[0]),
    ('rolling', PROFILES[0]), (None, PROFILES[0])])
def test_only_the_node_gets_the_dds_profile(no_profiles, monkeypatch, distribution, variable):
    """In the variable that the distribution's Fast DDS reads: version 3 warns about the other one."""
    if distribution:
        monkeypatch.setenv('ROS_DISTRO', distribution)
    context = launch_stand_in.run()
    assert set(only_node(context).own_environment(context)) == {variable}
    assert context.environment == dict(os.environ), 'a launch file that includes it keeps its own'


@pytest.mark.parametrize('name', PROFILES)
@pytest.mark.parametrize('value', ['mine.xml', ''])
def test_a_dds_profile_that_is_set_is_kept(no_profiles, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    context = launch_stand_in.run()
    assert only_node(context).own_environment(context) == {}


@pytest.mark.parametrize(('pushed', 'namespace', 'section'), [
    ('', '', '/shufflenet'), ('', 'robot1', '/robot1/shufflenet'), ('', '/robot1', '/robot1/shufflenet'),
    ('fleet', 'robot1', '/fleet/robot1/shufflenet'), ('/fleet', '', '/fleet/shufflenet'),
    ('fleet', '/robot1', '/robot1/shufflenet')])
def test_the_parameter_file_must_have_a_section_for_this_node(tmp_path, pushed, namespace, section):
    path = tmp_path / 'mine.yaml'
    arguments = {'params_file': str(path), 'namespace': namespace}
    if pushed:
        arguments['ros_namespace'] = pushed
    path.write_text(f'{section}:\n  ros__parameters: {{top_k: 1}}\n')
    assert only_node(launch_stand_in.run(**arguments)).parameters[0] == str(path)
    path.write_text('my_node:\n  ros__parameters: {top_k: 1}\n')
    with pytest.raises(ParamsFileError, match=f'got sections for /my_node, expected one for {section}; '):
        launch_stand_in.run(**arguments)


def test_the_node_runs_with_the_arguments(own_domain, model, tmp_path):
    context = launch_stand_in.run(
        model=str(model), cameras='front, rear', image_topic='image_color', image_transport='compressed',
        namespace='robot1', use_sim_time='true', log_level='warn')
    words = only_node(context).command_line(context, tmp_path)
    name, log = '/robot1/shufflenet', tmp_path / 'node.log'
    with driver(name) as drive, process([*NODE[:2], *words], log):
        wait_for(lambda: drive.state() == 'active', 'autostart')
        topics = {drive.status_when(f'camera {camera}', lambda s: True, 'it').values['topic']
                  for camera in ('front', 'rear')}
        assert topics == {f'/robot1/{camera}/image_color/compressed' for camera in ('front', 'rear')}
        request = GetParameters.Request(names=['use_sim_time', 'top_k'])
        values = drive.call(GetParameters, 'get_parameters', request).values
        assert values[0].bool_value is True and values[1].integer_value == TABLE['top_k'].default
        wait_for(lambda: '[WARN]' in log.read_text(), 'the warning about silent cameras')
    assert '[INFO]' not in log.read_text()


def test_without_autostart_it_waits_for_an_operator(own_domain, model, tmp_path):
    context = launch_stand_in.run(model=str(model), autostart='false')
    words = only_node(context).command_line(context, tmp_path)
    with driver() as drive, process([*NODE[:2], *words], tmp_path / 'node.log'):
        assert drive.state() == 'unconfigured'
        assert drive.change(label='configure') and drive.state() == 'inactive'


REAL = """
import os, sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
arguments = [word.split(':=', 1) for word in sys.argv[2:]]
service = LaunchService()
service.include_launch_description(LaunchDescription([IncludeLaunchDescription(
    PythonLaunchDescriptionSource(sys.argv[1]), launch_arguments=arguments)]))
status = service.run()
print('profiles left behind:', [name for name in os.environ if name.endswith('_DEFAULT_PROFILES_FILE')])
sys.exit(status)
"""


@pytest.fixture
def real_launch(repo_root) -> list[str]:
    """The command that includes the launch file from another one; launch arguments come behind it."""
    pytest.importorskip('launch_ros', reason='needs the real launch packages, which are not on pip')
    ament = pytest.importorskip('ament_index_python.packages', reason='needs an ament index')
    try:
        ament.get_package_prefix('shufflenet_ros')
    except ament.PackageNotFoundError:
        pytest.skip('needs shufflenet_ros built and sourced, so that launch finds it')
    return [sys.executable, '-c', REAL, str(repo_root / 'launch' / 'classify.launch.py')]


def test_the_real_launch_starts_nothing_with_a_wrong_file(real_launch, own_domain, tmp_path):
    (tmp_path / 'others.yaml').write_text('my_node:\n  ros__parameters: {top_k: 1}\n')
    for name, error in (('missing.yaml', 'No such file'), ('others.yaml', 'got sections for /my_node')):
        done = subprocess.run([*real_launch, f'params_file:={tmp_path / name}'], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=60, check=False)
        assert done.returncode == 1, done.stdout
        assert str(tmp_path / name) in done.stdout and error in done.stdout
        assert 'process started' not in done.stdout


def test_the_real_launch_and_the_stand_in_agree(real_launch, own_domain, no_profiles, model, tmp_path):
    arguments = {'model': str(model), 'namespace': 'real', 'cameras': 'front,rear', 'image_topic': 'color'}
    words = [f'{name}:={value}' for name, value in arguments.items()]
    log = tmp_path / 'launch.log'
    with log.open('wb') as out, driver('/real/shufflenet') as drive:
        child = subprocess.Popen([*real_launch, *words], stdout=out, stderr=subprocess.STDOUT,
                                 start_new_session=True, env=dict(os.environ))
        try:
            wait_for(lambda: drive.state() == 'active', 'autostart')
            topic = drive.status_when('camera rear', lambda s: True, 'it').values['topic']
            assert topic == '/real/rear/color'
            node_pid, = Path(f'/proc/{child.pid}/task/{child.pid}/children').read_text().split()
            started = Path(f'/proc/{node_pid}/cmdline').read_text().split('\0')[:-1]
            environment = Path(f'/proc/{node_pid}/environ').read_text().split('\0')
            assert [line.split('=')[0] for line in environment if 'PROFILES_FILE=' in line] == [PROFILES[0]]
            child.send_signal(signal.SIGINT)
            assert child.wait(20.0) == 0
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
    assert 'process has finished cleanly' in log.read_text(), log.read_text()
    assert 'profiles left behind: []' in log.read_text()
    recorded = launch_stand_in.run(**arguments)
    expected = only_node(recorded).command_line(recorded, tmp_path)
    assert without_paths(started[-len(expected):]) == without_paths(expected)


def without_paths(words: list[str]) -> list[str]:
    """Parameter files are in the share folder or temporary, each time elsewhere."""
    return [word for word in words if not word.startswith('/')]
