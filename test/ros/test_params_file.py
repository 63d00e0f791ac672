# SPDX-License-Identifier: Apache-2.0
"""The launch file's check of a parameter file: no section for the node is an error before anything starts."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from rclpy.context import Context
from rclpy.node import Node

from shufflenet_ros.ros.params_file import ParamsFileError, check_params_file

NODES = ('/shufflenet', '/robot1/shufflenet', '/fleet/robot1/shufflenet')
SECTIONS = (
    '/**', '/*', '/*/*', '/**/shufflenet', '/*/shufflenet', '/*/*/shufflenet', '/*/**', '/fleet/**',
    '/fleet/*/shufflenet', '/shufflenet', 'shufflenet', '/robot1/shufflenet', 'robot1/shufflenet', '/robot1',
    '/robot1/*', 'my_node', '/shufflenet2', '/my/shufflenet', '**', '**/shufflenet')


def passes(path: Path, node: str) -> bool:
    try:
        check_params_file(str(path), node)
    except ParamsFileError:
        return False
    return True


def read_by(context: Context, path: Path, name: str) -> set[str]:
    """The parameters that ROS gives to a node of this name."""
    namespace, _, base = name.rpartition('/')
    node = Node(base, context=context, use_global_arguments=False, namespace=namespace, enable_rosout=False,
                cli_args=['--ros-args', '--params-file', str(path)], start_parameter_services=False,
                automatically_declare_parameters_from_overrides=True)
    try:
        assert node.get_fully_qualified_name() == name
        return set(node.get_parameters_by_prefix(''))
    finally:
        node.destroy_node()


def test_it_knows_which_sections_ros_reads(context, tmp_path):
    files = {f'p{i}': f'"{section}":\n  ros__parameters: {{p{i}: 7}}\n' for i, section in enumerate(SECTIONS)}
    path = tmp_path / 'file.yaml'
    for name in NODES:
        path.write_text(''.join(files.values()))
        read = read_by(context, path, name) & set(files)
        assert read and read != set(files)
        for parameter, text in files.items():
            path.write_text(text)
            assert passes(path, name) == (parameter in read), (text, name)


@pytest.mark.parametrize('text', [
    'robot1:\n  shufflenet:\n    ros__parameters: {top_k: 7}\n',
    '/robot1:\n  other:\n    ros__parameters: {a: 1}\n  shufflenet:\n    ros__parameters: {top_k: 7}\n',
    'camera:\n  ros__parameters: {top_k: 1}\n/robot1/shufflenet:\n  ros__parameters: {top_k: 7}\n',
])
def test_it_finds_sections_in_namespaces_and_beside_others(context, tmp_path, text):
    (path := tmp_path / 'file.yaml').write_text(text)
    for name, expected in (('/robot1/shufflenet', True), ('/shufflenet', False)):
        assert ('top_k' in read_by(context, path, name)) == passes(path, name) == expected


# The file's content, or what makes it; and the error.
UNUSABLE: dict[str, tuple[bytes | Callable[[Path], object], str]] = {
    'missing': (lambda path: None, 'No such file or directory'),
    'directory': (Path.mkdir, 'got a directory'),
    'fifo': (lambda path: os.mkfifo(path), 'got a FIFO, socket or device'),
    'loop': (lambda path: path.symlink_to(path), 'Too many levels of symbolic links'),
    'unreadable': (lambda path: path.symlink_to('/proc/self/mem'), 'Input/output error'),
    'not yaml': (b'/**:\n  ros__parameters: [unclosed', 'line 2, column 20'),
    'tabs': (b'/**:\n\tros__parameters: {}', 'line 2, column 1'),
    'binary': (b'\xff\xfe\x00', "can't decode byte 0xff"),
    'two documents': (b'a: 1\n---\nb: 2\n', 'expected a single document'),
    'within itself': (b'a: &a {b: *a}', 'recursi'),
    'empty': (b'', 'got no section with ros__parameters, expected one for /shufflenet; name it /**'),
    'plain parameters': (b'top_k: 3\n', 'got no section with ros__parameters'),
    'nameless': (b'ros__parameters: {top_k: 3}\n', 'got no section with ros__parameters'),
    'others': (b'my_node:\n  ros__parameters: {}\n"a(":\n  ros__parameters: {}\n',
               'got sections for /my_node, /a(, expected one for /shufflenet; name it /**, /shufflenet or'),
}


@pytest.mark.parametrize('what', UNUSABLE)
def test_one_that_cannot_be_used_is_an_error(tmp_path, what):
    content, expected = UNUSABLE[what]
    path = tmp_path / 'file.yaml'
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content(path)
    with pytest.raises(ParamsFileError) as caught:
        check_params_file(str(path), '/shufflenet')
    text = str(caught.value)
    assert text.startswith(f'params_file {str(path)!r}: ') and expected in text and '; ' in text
    assert '\n' not in text and len(text) < 700


@pytest.mark.skipif(os.geteuid() == 0, reason='root may read everything')
def test_one_without_permission_is_an_error(tmp_path):
    (path := tmp_path / 'file.yaml').touch(0o000)
    with pytest.raises(ParamsFileError, match='Permission denied'):
        check_params_file(str(path), '/shufflenet')


def test_the_remedies_work(context, repo_root, tmp_path):
    """The names that the message suggests, and the shipped file."""
    (path := tmp_path / 'file.yaml').write_text('my_node:\n  ros__parameters: {top_k: 7}\n')
    with pytest.raises(ParamsFileError) as caught:
        check_params_file(str(path), '/robot1/shufflenet')
    suggested = str(caught.value).split('name it ')[1]
    for name in ('/**', '/robot1/shufflenet', '/**/shufflenet'):
        assert name in suggested
        path.write_text(f'{name}:\n  ros__parameters: {{top_k: 7}}\n')
        assert passes(path, '/robot1/shufflenet')
        assert 'top_k' in read_by(context, path, '/robot1/shufflenet')
    assert passes(repo_root / 'config' / 'classify.yaml', '/robot1/shufflenet')
