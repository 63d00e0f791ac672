# SPDX-License-Identifier: Apache-2.0
"""The systemd unit: what systemd says about it, what it starts, and the node inside its restrictions."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import launch_stand_in
import pytest
import sandbox
import yaml
from driving import RED, plain
from replaying import FULL, ROOT, wait_for
from tiny_bundle import tiny_bundle
from vision_msgs.msg import Classification

from shufflenet_ros.cli.main import main
from shufflenet_ros.core.errors import ShuffleNetError
from shufflenet_ros.ros import systemd_unit
from shufflenet_ros.ros.systemd_unit import Installation, facts, fill, home_of, node_words

SHIPPED = (ROOT / 'config' / 'shufflenet.service').read_text()
SHARE = '/home/robot/ws/install/shufflenet_ros/share/shufflenet_ros'
HERE = Installation((), str(Path(sys.executable).with_name('classify_node')), str(ROOT))
ME = next(user.pw_name for user in pwd.getpwall() if user.pw_uid)  # root may run the tests, but not the node
HOSTILE = """it's "a" $HOME `id` \\ %h 100%; & ü"""


def needs(there: bool, what: str) -> None:
    if not there:
        (pytest.fail if FULL else pytest.skip)(f'needs {what}')


def needs_systemd_analyze() -> None:
    needs(bool(shutil.which('systemd-analyze')), 'systemd-analyze: apt install systemd')


def unit(words: list[str], environment: dict[str, str], installation: Installation = HERE) -> str:
    return '\n'.join(fill(SHIPPED, facts(installation, words, environment, ME, '/nowhere', '1G')))


def test_the_shipped_file_is_the_unit_of_the_machine_that_it_names(monkeypatch):
    installation = Installation(
        ('/opt/ros/kilted/setup.bash', '/home/robot/ws/install/setup.bash'),
        '/home/robot/ws/install/shufflenet_ros/lib/shufflenet_ros/classify_node', SHARE)
    monkeypatch.setattr(systemd_unit, 'check_params_file', lambda path, node: None)
    lines = facts(installation, node_words(installation, {}), {'ROS_DISTRO': 'kilted'}, 'robot',
                  '/home/robot', '1G')
    assert fill(SHIPPED, lines) == SHIPPED.splitlines()


def test_systemd_accepts_it_and_finds_it_safe(tmp_path):
    needs_systemd_analyze()
    hostile = tmp_path / 'shufflenet-hostile.service'
    hostile.write_text(unit([HOSTILE], {'CYCLONEDDS_URI': HOSTILE}))
    for path in (ROOT / 'config' / 'shufflenet.service', hostile):
        done = subprocess.run(['systemd-analyze', 'verify', str(path)], capture_output=True, text=True,
                              check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, '', '')
    rated = subprocess.run(['systemd-analyze', 'security', '--offline=true', '--no-pager', '--threshold=20',
                            str(path)], capture_output=True, text=True, check=False)
    assert rated.returncode == 0, rated.stdout  # the threshold is ten times the exposure
    exposure = re.findall(r'exposure level for .*: ([0-9.]+)', rated.stdout)[-1]
    version = subprocess.check_output(['systemd-analyze', '--version'], text=True)
    if version.startswith('systemd 252'):  # others weigh the directives differently
        page = (ROOT / 'docs' / 'deployment.md').read_text()
        assert f'rates its exposure {exposure} of 10 (systemd 252)' in page


def test_hostile_values_arrive_unchanged(tmp_path):
    """Through both quotations: bash's inside systemd's."""
    folder = tmp_path / HOSTILE
    folder.mkdir()
    node, setup = folder / 'node', folder / 'setup.bash'
    node.write_text(f'#!{sys.executable}\nimport os, sys\nprint(sys.argv[1:], os.environ["SOURCED"])\n')
    node.chmod(0o755)
    setup.write_text('export SOURCED=$((6 * 7))\n')
    made = unit([HOSTILE], {'CYCLONEDDS_URI': HOSTILE}, Installation((str(setup),), str(node), str(ROOT)))
    lines = dict(sandbox.service_lines(made))
    command = sandbox.words(lines['ExecStart'], command=True)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f'{[HOSTILE]} 42\n'
    assert f'CYCLONEDDS_URI={HOSTILE}' in [
        sandbox.words(value)[0] for key, value in sandbox.service_lines(made) if key == 'Environment']


@pytest.mark.parametrize(('arguments', 'error'), [
    (['image_topic:=/a b'], "image_topic: got '/a b', expected a ROS name"),
    (['namespace:=1'], 'namespace'), (['autostart:=yes'], 'true or false'),
    (['log_level:=all'], 'debug, info'),
    (['respawn:=true'], "launch argument 'respawn': expected one of model"),
    (['precision:=int4'], "parameter precision: got 'int4'"),
    (['params_file:=/nowhere.yaml'], '/nowhere.yaml'),
    (['cameras:=a,b', 'image_topic:=/c'], 'relative to each camera'),
    (['--memory-max', '1G\nUser=root'], '--memory-max'),
    (['--user', 'root'], 'has all privileges'), (['--user', 'nobody-has-this-name'], 'not on this machine')])
def test_invalid_values_are_one_line(arguments, error, capsys):
    assert main(['service', '--print', '--user', ME, *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == '' and error in err and err.count('\n') == 1


def test_a_variable_cannot_add_lines(monkeypatch, capsys):
    monkeypatch.setenv('ROS_DOMAIN_ID', '1"\nUser=root')
    assert main(['service', '--print', '--user', ME]) == 2
    assert 'expected printable characters' in capsys.readouterr().err


def test_launch_arguments_mean_what_they_mean_to_launch(tmp_path):
    given = {'model': '1.0', 'cameras': 'a, b', 'image_topic': 'color', 'image_transport': 'compressed',
             'backend': 'native', 'precision': 'int8', 'namespace': 'robot1', 'use_sim_time': 'true',
             'log_level': 'warn', 'autostart': 'false'}
    context = launch_stand_in.run(**given)
    node, = context.nodes
    words = node_words(HERE, given)

    def after(option: str, all_words: list[str]) -> list[str]:
        return [b for a, b in zip(all_words, all_words[1:]) if a == option]

    launched = node.command_line(context, tmp_path)
    assert after('-r', words) == [word for word in after('-r', launched) if '__node' not in word]
    assert after('--log-level', words) == after('--log-level', launched)
    assert after('--params-file', words) == after('--params-file', launched)[:1]
    values = {word.split(':=')[0]: yaml.safe_load(word.split(':=')[1]) for word in after('-p', words)}
    assert values == node.own_parameters(context)
    declared = {name for name, _, _ in launch_stand_in.load().ARGUMENTS}
    assert declared == {*systemd_unit.ARGUMENTS, 'respawn'} == {*given, 'params_file', 'respawn'}


def test_the_installation_is_that_of_the_shell(tmp_path, monkeypatch):
    def find(prefix: Path) -> Installation:
        return systemd_unit.find_installation({'AMENT_PREFIX_PATH': f'/nowhere:{prefix}'})

    node = tmp_path / 'install' / 'shufflenet_ros' / 'lib' / 'shufflenet_ros' / 'classify_node'
    node.parent.mkdir(parents=True)
    node.touch()
    setup = tmp_path / 'install' / 'setup.bash'
    setup.touch()
    isolated = find(node.parents[2])
    assert (isolated.setups, isolated.node) == ((str(setup),), str(node))
    assert Path(isolated.share, 'config', 'shufflenet.service').is_file()
    assert systemd_unit.find_installation({}) == HERE
    monkeypatch.setattr(sys, 'executable', '/nowhere/python')
    with pytest.raises(ShuffleNetError, match='source its install/setup.bash'):
        systemd_unit.find_installation({})


def test_each_directive_has_an_equivalent_or_none():
    assert sandbox.unknown_directives(SHIPPED) == []
    assert sandbox.unknown_directives(SHIPPED.replace('PrivateTmp=yes', 'PrivateTmp=no')) == ['PrivateTmp=no']


@contextmanager
def in_sandbox(made: str, command: list[str], log: Path, *readable: Path):
    """The command with the unit's restrictions."""
    needs_systemd_analyze()
    needs(sandbox.HEADER.is_file(), f'{sandbox.HEADER} of x86_64: apt install linux-libc-dev')
    needs(bool(shutil.which('bwrap')), 'bwrap: apt install bubblewrap')
    probe = subprocess.run(['bwrap', '--unshare-user', '--ro-bind', '/', '/', 'true'], check=False)
    needs(probe.returncode == 0, 'user namespaces: sysctl kernel.apparmor_restrict_unprivileged_userns=0')
    wrapped, program = sandbox.sandboxed(made, command, ROOT, *readable)
    with log.open('wb') as out:
        child = subprocess.Popen(wrapped, stdout=out, stderr=subprocess.STDOUT, pass_fds=[program])
    try:
        yield child
    finally:
        os.close(program)
        child.terminate()
        child.wait(20.0)


PROBE = """
import ctypes, mmap, os, socket, sys
def fails(what):
    try:
        what()
    except OSError:
        return True
callback = ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 42)
libc = ctypes.CDLL(None, use_errno=True)
checks = {
    'a callback of ctypes works': callback() == 42,
    'no file is written': all(fails(lambda: open(f'{folder}/x', 'w')) for folder in ('/etc', sys.argv[1])),
    'temporary files are private': os.listdir('/var/tmp') == [] and not fails(lambda: open('/tmp/x', 'w')),
    'shared memory is shared': os.path.exists(sys.argv[2]) and os.access('/dev/shm', os.W_OK),
    'no device': not os.path.exists('/dev/mem') and not os.path.exists('/dev/kmsg'),
    'no writable and executable memory': fails(lambda: mmap.mmap(-1, 4096, prot=7)),
    'nor by mprotect': libc.mprotect(ctypes.c_void_p(0), 0, 4) == -1 and ctypes.get_errno() == 1,
    'no packet socket': fails(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)),
    'an internet socket': not fails(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()),
    'no namespace': libc.unshare(0x10000000) == -1,
    'no other user': fails(lambda: os.setuid(0)),
    'no capability': [line.split()[1] for line in open('/proc/self/status') if line.startswith('CapBnd')]
                     == ['0' * 16],
    'a child process': os.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)[1] == 0,
}
print([name for name, passed in checks.items() if not passed])
"""


def test_the_sandbox_is_tight(tmp_path):
    shared = Path('/dev/shm', f'shufflenet_test_{os.getpid()}')
    shared.touch()
    try:
        with in_sandbox(unit([], {}).replace('"-/nowhere/.cache/shufflenet_ros"', f'"-{tmp_path}"'),
                        [sys.executable, '-c', PROBE, str(ROOT), str(shared)],
                        tmp_path.parent / 'probe.log') as child:
            assert child.wait(30.0) == 0, (tmp_path.parent / 'probe.log').read_text()
    finally:
        shared.unlink()
    assert (tmp_path.parent / 'probe.log').read_text() == '[]\n'


@pytest.mark.parametrize('kind', ['default', *(['untrusted'] if FULL else [])])
def test_the_node_answers_inside_it(drive, tmp_path, capsys, monkeypatch, kind):
    """The default model runs on both backends; an untrusted one first in a child process."""
    arguments = ['image_topic:=/camera/image_raw']
    if kind == 'untrusted':
        arguments.append(f'model:={tiny_bundle(tmp_path / "mine.onnx")}')
    assert main(['service', '--print', '--user', ME, *arguments]) == 0
    made = capsys.readouterr().out
    home = home_of(ME)
    cache = tmp_path / 'cache' / 'shufflenet_ros'
    cache.mkdir(parents=True)
    monkeypatch.setenv('XDG_CACHE_HOME', str(cache.parent))
    made = made.replace(f'"-{home}/.cache/shufflenet_ros"', f'"-{cache}"')
    command = sandbox.words(dict(sandbox.service_lines(made))['ExecStart'], command=True)
    log = tmp_path / 'node.log'
    heard = drive.hear(Classification, '/shufflenet/classification')
    with in_sandbox(made, command, log, tmp_path) as child:
        camera = drive.camera('/camera/image_raw')
        try:
            wait_for(lambda: child.poll() is not None or camera.publish(plain(RED, size=(480, 640))) or heard,
                     'a result')
        except AssertionError as error:
            raise AssertionError(f'{error}:\n{log.read_text()}') from None
        assert heard and len(heard[0].results) > 1, log.read_text()
    assert 'native' in log.read_text() or kind != 'default', 'both backends were timed'
    assert list(cache.rglob('*.json')) or kind != 'default', 'the choice is stored for the next start'
    for complaint in ('Traceback', 'Operation not permitted', 'Permission denied', "can't be written"):
        assert complaint not in log.read_text()
