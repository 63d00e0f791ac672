"""package.xml, setup.py and the source tree tell one story."""

from __future__ import annotations

import ast
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

import shufflenet_ros

MANIFESTS = ('package.xml', 'interfaces/shufflenet_ros_msgs/package.xml',
             'interfaces/pip/vision_msgs/package.xml')


def setup_arguments(repo_root: Path) -> dict[str, object]:
    """The keyword arguments of setup() that are plain constants."""
    call = next(node for node in ast.walk(ast.parse((repo_root / 'setup.py').read_text()))
                if isinstance(node, ast.Call) and getattr(node.func, 'id', '') == 'setup')
    return {word.arg: word.value.value for word in call.keywords
            if word.arg and isinstance(word.value, ast.Constant)}


def test_one_version(repo_root):
    manifests = [ElementTree.parse(repo_root / name).findtext('version') for name in MANIFESTS[:2]]
    assert {*manifests, setup_arguments(repo_root)['version']} == {shufflenet_ros.__version__}


@pytest.mark.parametrize('name', MANIFESTS)
def test_manifest(name, repo_root):
    root = ElementTree.parse(repo_root / name).getroot()
    assert root.get('format') == '3'
    assert root.findtext('license') == 'Apache-2.0'
    # catkin_pkg refuses a maintainer address whose last part has one letter.
    assert re.fullmatch(r'[^@\s]+@[\w.-]+\.[a-z]{2,}', root.find('maintainer').get('email'))


@pytest.mark.parametrize('name', MANIFESTS)
def test_rosdep_installs_from_apt_alone(name, repo_root):
    """pip under rosdep replaces apt's NumPy on Ubuntu 22.04, and is refused on 24.04, where rosdep stops."""
    keys = [node.text for node in ElementTree.parse(repo_root / name).getroot() if 'depend' in node.tag]
    assert keys
    assert not [key for key in keys if key.endswith('-pip')]


def test_license_is_the_full_text(repo_root):
    text = (repo_root / 'LICENSE').read_text()
    assert 'Apache License' in text
    assert 'END OF TERMS AND CONDITIONS' in text


def test_every_ros_package_that_the_node_imports_is_declared(repo_root):
    declared = {node.text for node in ElementTree.parse(repo_root / 'package.xml').getroot()}
    ros = {'ament_index_python', 'builtin_interfaces', 'diagnostic_msgs', 'lifecycle_msgs', 'rcl_interfaces',
           'rclpy', 'rosgraph_msgs', 'sensor_msgs', 'shufflenet_ros_msgs', 'std_msgs', 'std_srvs',
           'vision_msgs'}
    used = set()
    for path in (repo_root / 'shufflenet_ros').rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                used |= {alias.name.split('.')[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                used.add(node.module.split('.')[0])
    assert 'rclpy' in used
    assert used & ros <= declared
