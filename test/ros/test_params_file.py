# SPDX-License-Identifier: Apache-2.0
"""A parameter file without a section for the node is an error before anything starts."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2')
pytest.importorskip('onnx', reason='needs the extra export')

from rclpy.context import Context

from shufflenet_ros.ros.node import ClassifyNode
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


def is_read(context: Context, path: Path, name: str) -> bool:
    """Whether the node of this name has what the file says of it."""
    namespace = name.rpartition('/')[0]
    node = ClassifyNode(context=context, use_global_arguments=False, namespace=namespace,
                        cli_args=['--ros-args', '--params-file', str(path)])
    try:
        assert node.get_fully_qualified_name() == name
        return bool(node.value_of('top_k') == 7)
    finally:
        node.destroy_node()


def test_it_knows_which_sections_ros_reads(context: Context, tmp_path: Path) -> None:
    path, seen = tmp_path / 'file.yaml', set()
    for section in SECTIONS:
        path.write_text(f'"{section}":\n  ros__parameters: {{top_k: 7}}\n')
        for name in NODES:
            expected = is_read(context, path, name)
            assert passes(path, name) == expected, (section, name)
            seen.add(expected)
    assert seen == {True, False}


@pytest.mark.parametrize('text', [
    'robot1:\n  shufflenet:\n    ros__parameters: {top_k: 7}\n',
    '/robot1:\n  other:\n    ros__parameters: {a: 1}\n  shufflenet:\n    ros__parameters: {top_k: 7}\n',
    'camera:\n  ros__parameters: {top_k: 1}\n/robot1/shufflenet:\n  ros__parameters: {top_k: 7}\n',
])
def test_it_finds_sections_in_namespaces_and_beside_others(context: Context, tmp_path: Path,
                                                           text: str) -> None:
    (path := tmp_path / 'file.yaml').write_text(text)
    assert is_read(context, path, '/robot1/shufflenet') and passes(path, '/robot1/shufflenet')
    assert not is_read(context, path, '/shufflenet') and not passes(path, '/shufflenet')


def wrong(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


UNUSABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    'missing': (lambda path: None, 'No such file or directory'),
    'directory': (Path.mkdir, 'got a directory'),
    'fifo': (lambda path: os.mkfifo(path), 'got a FIFO, socket or device'),
    'loop': (lambda path: path.symlink_to(path), 'Too many levels of symbolic links'),
    'unreadable': (lambda path: path.symlink_to('/proc/self/mem'), 'Input/output error'),
    'not yaml': (wrong(b'/**:\n  ros__parameters: [unclosed'), 'line 2, column 20'),
    'tabs': (wrong(b'/**:\n\tros__parameters: {}'), 'line 2, column 1'),
    'binary': (wrong(b'\xff\xfe\x00'), "can't decode byte 0xff"),
    'two documents': (wrong(b'a: 1\n---\nb: 2\n'), 'expected a single document'),
    'within itself': (wrong(b'a: &a {b: *a}'), 'recursi'),
    'empty': (wrong(b''), 'got no section with ros__parameters, expected one for /shufflenet; name it /**'),
    'plain parameters': (wrong(b'top_k: 3\n'), 'got no section with ros__parameters'),
    'nameless': (wrong(b'ros__parameters: {top_k: 3}\n'), 'got no section with ros__parameters'),
    'others': (wrong(b'my_node:\n  ros__parameters: {}\n"a(":\n  ros__parameters: {}\n'),
               'got sections for /my_node, /a(, expected one for /shufflenet; name it /**, /shufflenet or'),
}


@pytest.mark.parametrize('what', UNUSABLE)
def test_one_that_cannot_be_used_is_an_error(tmp_path: Path, what: str) -> None:
    make, said = UNUSABLE[what]
    make(path := tmp_path / 'file.yaml')
    with pytest.raises(ParamsFileError) as caught:
        check_params_file(str(path), '/shufflenet')
    text = str(caught.value)
    print(text)
    assert text.startswith(f'params_file {str(path)!r}: ') and said in text and '; ' in text
    assert '\n' not in text and len(text) < 700


@pytest.mark.skipif(os.geteuid() == 0, reason='root may read everything')
def test_one_without_permission_is_an_error(tmp_path: Path) -> None:
    (path := tmp_path / 'file.yaml').touch(0o000)
    with pytest.raises(ParamsFileError, match='Permission denied'):
        check_params_file(str(path), '/shufflenet')


def test_the_remedies_work(context: Context, repo_root: Path, tmp_path: Path) -> None:
    """The names that the message suggests, and the shipped file."""
    (path := tmp_path / 'file.yaml').write_text('my_node:\n  ros__parameters: {top_k: 7}\n')
    with pytest.raises(ParamsFileError) as caught:
        check_params_file(str(path), '/robot1/shufflenet')
    suggested = str(caught.value).split('name it ')[1]
    for name in ('/**', '/robot1/shufflenet', '/**/shufflenet'):
        assert name in suggested
        path.write_text(f'{name}:\n  ros__parameters: {{top_k: 7}}\n')
        assert passes(path, '/robot1/shufflenet') and is_read(context, path, '/robot1/shufflenet')
    assert passes(repo_root / 'config' / 'classify.yaml', '/robot1/shufflenet')
