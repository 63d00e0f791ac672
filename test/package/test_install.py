# SPDX-License-Identifier: Apache-2.0
"""`pip install .` on a machine without ROS and torch: small, quick, and the offline half works."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from shell import SetupError, clean_environment, run

HEAVY = ('torch', 'rclpy', 'onnx', 'vision_msgs', 'sensor_msgs')


def python(venv: Path, code: str) -> str:
    return run([venv / 'bin/python', '-c', code], env=clean_environment(), cwd=venv)


def test_neither_torch_nor_ros_nor_onnx_comes_along(plain_venv):
    listed = run([plain_venv / 'bin/python', '-m', 'pip', 'list', '--format=freeze']).lower().split()
    names = {line.split('==')[0].replace('_', '-') for line in listed}
    assert {'shufflenet-ros', 'numpy', 'opencv-python', 'onnxruntime', 'pyyaml', 'tqdm'} <= names
    assert 'rosbags' not in names, 'bags are an extra'
    assert not {name for name in names if name.replace('-', '_') in HEAVY or name.startswith('ros-')}


def test_help_works(plain_venv):
    command = [plain_venv / 'bin/shufflenet-ros', '--help']
    assert 'classify' in run(command, env=clean_environment(), cwd=plain_venv)


def test_photos_are_classified_and_a_bag_asks_for_rosbags(plain_venv, repo_root, tmp_path):
    command = [plain_venv / 'bin/shufflenet-ros', 'classify', '--json']
    environment = clean_environment(XDG_CACHE_HOME=str(tmp_path))
    line = json.loads(run([*command, repo_root / 'docs/demo.png'], env=environment, cwd=plain_venv))
    assert line['predictions'] and not line['dropped']
    with pytest.raises(SetupError, match='classify needs the Python module rosbags: pip install rosbags'):
        run([*command, repo_root / 'test/data/pan.mcap'], env=environment, cwd=plain_venv)


def test_files_that_belong_to_the_package_come_along(plain_venv, repo_root):
    site = next(plain_venv.glob('lib/python3*/site-packages/shufflenet_ros'))
    for pattern in ('py.typed', 'bundles/cards/*.json', 'training/recipes/*.yaml'):
        expected = {path.name for path in (repo_root / 'shufflenet_ros').glob(pattern)}
        assert expected, f'no {pattern} in the source tree'
        assert {path.name for path in site.glob(pattern)} == expected
    for path in ('ament_index/resource_index/packages/shufflenet_ros', 'shufflenet_ros/package.xml'):
        assert (plain_venv / 'share' / path).is_file()
    assert not list(site.parent.glob('test*/**/test_host.py'))


@pytest.mark.parametrize('package', ['core', 'backends'])
def test_packages_for_the_robot_load_nothing_heavy(plain_venv, repo_root, package):
    modules = sorted(path.stem for path in (repo_root / 'shufflenet_ros' / package).glob('*.py'))
    imports = ', '.join(f'shufflenet_ros.{package}.{name}' for name in modules if name != '__init__')
    code = f'import sys, {imports}; print(sorted(set({HEAVY}) & set(sys.modules)))'
    assert python(plain_venv, code).strip() == '[]'


def test_the_metadata_says_what_package_xml_and_readme_say(plain_venv, repo_root):
    code = ('import json; from importlib.metadata import metadata; '
            'print(json.dumps(metadata("shufflenet_ros").json))')
    found = json.loads(python(plain_venv, code))
    manifest = ElementTree.parse(repo_root / 'package.xml').getroot()
    assert found['version'] == manifest.findtext('version')
    assert found['maintainer_email'] == manifest.find('maintainer').get('email')
    assert found['description'].strip() == (repo_root / 'README.md').read_text().strip()
    assert found['description_content_type'] == 'text/markdown'
    urls = {found.get('home_page'), *(url.split(', ')[1] for url in found['project_url'])}
    assert {url.text for url in manifest.findall('url')} <= urls
    assert 'Programming Language :: Python :: 3.10' in found['classifier']


IMPORT_TIME = """
import time
start = time.perf_counter()
import shufflenet_ros
print(time.perf_counter() - start)
"""


def test_import_takes_less_than_a_tenth_of_a_second(plain_venv):
    # Inside the process, best of five, so that a loaded machine adds little.
    best = min(float(python(plain_venv, IMPORT_TIME)) for _ in range(5))
    print(f'import shufflenet_ros: {1000 * best:.1f} ms')
    assert best < 0.1


def test_importing_shufflenet_ros_loads_no_package_of_it(plain_venv):
    code = 'import sys, shufflenet_ros; print([m for m in sys.modules if m.startswith("shufflenet_ros.")])'
    assert python(plain_venv, code).strip() == '[]'
