# SPDX-License-Identifier: Apache-2.0
"""`pip install .` on a machine without ROS and torch: small, quick, and the offline half works."""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest
from shell import CONSTRAINTS, SetupError, clean_environment, pip_install, run

HEAVY = {'torch', 'rclpy', 'onnx', 'vision-msgs', 'sensor-msgs'}


@pytest.fixture(scope='module')
def venv(tmp_path_factory: pytest.TempPathFactory, copy_sources: Callable[[Path], Path]) -> Path:
    """An environment with the package and nothing else."""
    folder = tmp_path_factory.mktemp('plain')
    run([sys.executable, '-m', 'venv', folder / 'venv'])
    pip_install(folder / 'venv', '-c', CONSTRAINTS, copy_sources(folder / 'tree'))
    return folder / 'venv'


def python(venv: Path, *arguments: object) -> str:
    return run([venv / 'bin/python', *arguments], env=clean_environment(), cwd=venv)


def test_neither_torch_nor_ros_nor_onnx_comes_along(venv):
    listed = python(venv, '-m', 'pip', 'list', '--format=freeze').lower().split()
    names = {line.split('==')[0].replace('_', '-') for line in listed}
    assert {'shufflenet-ros', 'numpy', 'opencv-python-headless', 'onnxruntime', 'pyyaml', 'tqdm'} <= names
    assert 'rosbags' not in names, 'bags are an extra'
    assert not names & HEAVY and not [name for name in names if name.startswith('ros-')]


@pytest.mark.parametrize('package', ['core', 'backends'])
def test_packages_for_the_robot_need_nothing_else(venv, repo_root, package):
    modules = [path.stem for path in (repo_root / 'shufflenet_ros' / package).glob('*.py')]
    python(venv, '-c', 'import ' + ', '.join(f'shufflenet_ros.{package}.{name}' for name in modules))


def test_photos_are_classified_and_a_bag_asks_for_rosbags(venv, repo_root, tmp_path):
    command = [venv / 'bin/shufflenet-ros', 'classify', '--json']
    environment = clean_environment(XDG_CACHE_HOME=str(tmp_path))
    line = json.loads(run([*command, repo_root / 'docs/demo.png'], env=environment, cwd=venv))
    assert line['predictions'] and not line['dropped']
    with pytest.raises(SetupError, match='classify needs the Python module rosbags: pip install rosbags'):
        run([*command, repo_root / 'test/data/pan.mcap'], env=environment, cwd=venv)


def test_files_that_belong_to_the_package_come_along(venv, repo_root):
    site = next(venv.glob('lib/python3*/site-packages/shufflenet_ros'))
    for pattern in ('py.typed', 'bundles/*.yaml', 'bundles/cards/*.json', 'training/recipes/*.yaml'):
        expected = {path.name for path in (repo_root / 'shufflenet_ros').glob(pattern)}
        assert expected, f'no {pattern} in the source tree'
        assert {path.name for path in site.glob(pattern)} == expected
    for path in ('ament_index/resource_index/packages/shufflenet_ros', 'shufflenet_ros/package.xml'):
        assert (venv / 'share' / path).is_file()
    assert not list(site.parent.glob('test*/**/test_install.py'))


def test_the_metadata_says_what_package_xml_and_readme_say(venv, repo_root):
    found = json.loads(python(venv, '-c', 'import json; from importlib.metadata import metadata; '
                                          'print(json.dumps(metadata("shufflenet_ros").json))'))
    manifest = ElementTree.parse(repo_root / 'package.xml').getroot()
    assert found['version'] == manifest.findtext('version')
    assert found['maintainer_email'] == manifest.find('maintainer').get('email')
    assert found['description'].strip() == (repo_root / 'README.md').read_text().strip()
    assert found['description_content_type'] == 'text/markdown'
    urls = {found.get('home_page'), *(url.split(', ')[1] for url in found['project_url'])}
    assert {url.text for url in manifest.findall('url')} <= urls
    assert 'Programming Language :: Python :: 3.10' in found['classifier']


IMPORT = """
import sys, time
start = time.perf_counter()
import shufflenet_ros
print(time.perf_counter() - start, *[name for name in sys.modules if name.startswith('shufflenet_ros.')])
"""


def test_importing_shufflenet_ros_takes_less_than_a_tenth_of_a_second_and_loads_no_package_of_it(venv):
    # Inside the process, best of five, so that a loaded machine adds little.
    outputs = [python(venv, '-c', IMPORT).split() for _ in range(5)]
    assert [len(words) for words in outputs] == [1] * 5, outputs
    assert min(float(words[0]) for words in outputs) < 0.1
