# SPDX-License-Identifier: Apache-2.0
"""package.xml, setup.py, the license and the source tree agree."""

from __future__ import annotations

import ast
import xml.etree.ElementTree as ElementTree

import pytest

import shufflenet_ros

MANIFESTS = ('package.xml', 'interfaces/shufflenet_ros_msgs/package.xml',
             'interfaces/pip/vision_msgs/package.xml')
RELEASED = MANIFESTS[:2]  # bloom makes Debian packages of these
# Every key must be in rosdistro and come from apt: through pip, rosdep replaces apt's NumPy on Ubuntu 22.04,
# and stops with an error on 24.04. Before you add one, run `rosdep resolve` for each distribution.
APT_KEYS = {'python3-numpy', 'python3-opencv', 'python3-pytest', 'python3-tqdm', 'python3-yaml'}
ROS_KEYS = {'ament_cmake', 'ament_index_python', 'builtin_interfaces', 'diagnostic_msgs', 'launch',
            'launch_ros', 'lifecycle_msgs', 'rcl_interfaces', 'rclpy', 'rosgraph_msgs',
            'rosidl_default_generators', 'rosidl_default_runtime', 'sensor_msgs', 'std_msgs', 'vision_msgs'}
LICENSE_LINE = 'SPDX-License-Identifier: Apache-2.0'
SUFFIXES = {'.py', '.c', '.h', '.sh', '.yml'}
FOLDERS = ('.github', 'benchmarks', 'demo', 'docker', 'launch', 'native', 'scripts', 'shufflenet_ros', 'test')
# Programs without a suffix, and files at the top.
PROGRAMS = ('.ci/run', '.ci/ros', '.dockerignore', '.pre-commit-config.yaml', 'Makefile', 'docker/Dockerfile',
            'docker/compose.yaml', 'setup.py')


def test_one_version_and_one_maintainer(repo_root):
    manifests = [ElementTree.parse(repo_root / name).getroot() for name in MANIFESTS]
    assert {manifest.findtext('version') for manifest in manifests[:2]} == {shufflenet_ros.__version__}
    maintainers = [manifest.find('maintainer') for manifest in manifests]
    assert len({(node.text, node.get('email')) for node in maintainers}) == 1
    assert maintainers[0].get('email').endswith('.example'), 'no real address'
    # The package's own file is the one place; setup.py reads it.
    assert '@' not in (repo_root / 'setup.py').read_text().replace('@property', '')


@pytest.mark.parametrize('name', MANIFESTS)
def test_manifest_keeps_the_rules_of_format_3(name, repo_root):
    package = pytest.importorskip('catkin_pkg.package', reason='needs scripts/requirements/test.txt')
    warnings: list[str] = []
    found = package.parse_package(str(repo_root / name), warnings=warnings)
    found.validate(warnings=warnings)
    assert not warnings
    assert (found.package_format, found.licenses) == (3, ['Apache-2.0'])


@pytest.mark.parametrize(('old', 'new'), [
    ('<version>0.1.0</version>', '<version>0.1</version>'),
    ('<version>0.1.0</version>', ''),
    ('<license file="LICENSE">Apache-2.0</license>', ''),
    ('email="', 'mail="'),
    ('<exec_depend>launch</exec_depend>', '<exec_dependency>launch</exec_dependency>'),
    ('<test_depend>python3-pytest</test_depend>', '<test_depend>shufflenet_ros</test_depend>'),
])
def test_a_broken_manifest_is_an_error(old, new, repo_root):
    package = pytest.importorskip('catkin_pkg.package', reason='needs scripts/requirements/test.txt')
    text = (repo_root / 'package.xml').read_text()
    assert old in text
    with pytest.raises(package.InvalidPackage):
        package.parse_package_string(text.replace(old, new)).validate()


@pytest.mark.parametrize('manifest', RELEASED)
def test_the_changelog_has_one_section_which_a_release_renames(manifest, repo_root, capfd):
    """catkin_prepare_release puts the version in place of "Forthcoming"; bloom reads what it then finds."""
    changelog = pytest.importorskip('catkin_pkg.changelog', reason='needs scripts/requirements/test.txt')
    version = pytest.importorskip('catkin_pkg.package_version', reason='needs scripts/requirements/test.txt')
    text = (repo_root / manifest).with_name('CHANGELOG.rst').read_text()
    name = ElementTree.parse(repo_root / manifest).findtext('name')
    assert text.splitlines()[1] == f'Changelog for package {name}'
    assert version.get_forthcoming_label(text) == 'Forthcoming'
    parsed = changelog.Changelog(name)
    released = text.replace('Forthcoming\n-----------', '0.1.0 (2026-12-01)\n------------------')
    changelog.populate_changelog_from_rst(parsed, released)
    (number, date, content), = parsed.foreach_version()
    assert (number, str(date.date())) == ('0.1.0', '2026-12-01') and content
    assert capfd.readouterr().err == '', "docutils' warnings"


@pytest.mark.parametrize('name', MANIFESTS)
def test_rosdep_installs_from_apt_alone(name, repo_root):
    keys = {node.text for node in ElementTree.parse(repo_root / name).getroot() if 'depend' in node.tag}
    own = {ElementTree.parse(repo_root / manifest).findtext('name') for manifest in RELEASED}
    assert keys and keys <= APT_KEYS | ROS_KEYS | own


def test_every_source_file_names_the_license(repo_root):
    """In one of its first two lines, as ament_copyright wants it."""
    text = (repo_root / 'LICENSE').read_text()
    assert 'Apache License' in text and 'END OF TERMS AND CONDITIONS' in text
    paths = [repo_root / name for name in PROGRAMS]
    for folder in FOLDERS:
        found = [path for path in (repo_root / folder).rglob('*') if path.suffix in SUFFIXES]
        assert found, folder
        paths += found
    unlicensed = [path for path in paths if LICENSE_LINE not in ' '.join(path.read_text().split('\n')[:2])]
    assert not unlicensed


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
