# SPDX-License-Identifier: Apache-2.0
"""The node starts with odd homes, log folders and locales (row D20), and beside its double (D19)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2')
pytest.importorskip('onnx', reason='needs the extra export')

from driving import RED, active_node, driver, plain
from replaying import EVERY, NODE, wait_for
from vision_msgs.msg import Classification


@dataclass(frozen=True)
class Surrounding:
    """How a process is started: changed variables (None: not set), interpreter options, folder."""

    variables: dict[str, str | None] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    folder: str | None = None


# /proc takes no files from anybody, root included.
SURROUNDINGS = {
    'no_home': Surrounding({'HOME': None}),
    'home_not_there': Surrounding({'HOME': '/proc/nobody'}),
    'home_a_file': Surrounding({'HOME': '/proc/version'}),
    'ros_home_not_writable': Surrounding({'ROS_HOME': '/proc/ros'}),
    'log_dir_not_writable': Surrounding({'ROS_LOG_DIR': '/proc/log'}),
    'locale_c': Surrounding({'LC_ALL': 'C', 'LANG': None}),
    'optimized': Surrounding(options=('-O',)),
    'read_only_folder': Surrounding(folder='/proc'),
}


def start(name: str, where: Surrounding, bundle: Path, root: Path, log: Path) -> subprocess.Popen[bytes]:
    """The node's process."""
    environment = os.environ | {'PYTHONPATH': os.pathsep.join([str(root), os.environ.get('PYTHONPATH', '')])}
    for variable, value in where.variables.items():
        environment.pop(variable, None)
        if value is not None:
            environment[variable] = value
    words = [*where.options, *NODE, '-r', f'__node:={name}', '-p', f'model:={bundle}', '-p',
             'autostart:=true']
    with log.open('wb') as out:
        return subprocess.Popen([sys.executable, *words], env=environment, cwd=where.folder or root,
                                stdout=out, stderr=subprocess.STDOUT, start_new_session=True)


def test_the_node_starts_in_odd_surroundings(own_domain: None, bundle: Path, tmp_path: Path,
                                             repo_root: Path) -> None:
    """All at once, because nearly all of the time is waiting."""
    with ExitStack() as stack:
        children = {}
        for name, where in SURROUNDINGS.items():
            children[name] = child = start(name, where, bundle, repo_root, tmp_path / f'{name}.log')
            stack.callback(child.wait)
            stack.callback(child.kill)
        for name, child in children.items():
            log = tmp_path / f'{name}.log'
            with driver(f'/{name}') as drive:
                wait_for(lambda log=log: 'listening on' in log.read_text(), f'{name} to be active')
                assert drive.state() == 'active', log.read_text()
            child.send_signal(signal.SIGINT)
        for name, child in children.items():
            assert child.wait(20.0) == 0, name
    for name in SURROUNDINGS:
        said = (tmp_path / f'{name}.log').read_text()
        assert 'Traceback' not in said, said
        if 'writable' in name or name.startswith('home'):
            assert "can't be written; logs go to" in said, said


def test_two_nodes_of_one_name_both_answer(own_domain: None, bundle: Path, tmp_path: Path) -> None:
    parameters = EVERY | {'model': bundle}
    words = ('-r', '__node:=twin', '-r', 'image_raw:=/twins/image')
    with driver('/twin') as drive, active_node(drive, tmp_path / 'one.log', parameters, *words), \
            active_node(drive, tmp_path / 'two.log', parameters, *words):
        publisher = drive.camera('/twins/image')
        answers = drive.hear(Classification, '/twin/classification')
        wait_for(lambda: publisher.get_subscription_count() == 2, 'both nodes to subscribe')
        wait_for(lambda: drive.node.count_publishers('/twin/classification') == 2, 'both nodes to publish')
        stamp = 0

        def both() -> bool:
            nonlocal stamp
            stamp += 1
            publisher.publish(plain(RED, (stamp, 0)))
            wait_for(lambda: answers, 'an answer')
            return sorted(a.header.stamp.sec for a in answers).count(answers[-1].header.stamp.sec) == 2

        wait_for(both, 'two answers to one frame')
