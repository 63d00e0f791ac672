# SPDX-License-Identifier: Apache-2.0
"""Names and paths: the order of the directories, and an error that lists where it searched."""

import sysconfig
from pathlib import Path

import pytest
from onnx_models import good

from shufflenet_ros.bundles import locate
from shufflenet_ros.bundles.errors import ModelError
from shufflenet_ros.bundles.index import write_index

SHARE = Path('share', 'shufflenet_ros', 'models')


@pytest.fixture
def machine(tmp_path: Path, no_cache: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """A machine with every kind of model directory, each empty."""
    folders = {
        'source tree': tmp_path / 'clone' / 'models', 'ament': tmp_path / 'ws' / SHARE,
        'installed': tmp_path / 'prefix' / SHARE, 'cache': no_cache / 'shufflenet_ros' / 'models',
    }
    for folder in folders.values():
        folder.mkdir(parents=True)
    (tmp_path / 'clone' / 'package.xml').touch()
    monkeypatch.setattr(locate, '_PACKAGE', tmp_path / 'clone' / 'shufflenet_ros')
    monkeypatch.setenv('AMENT_PREFIX_PATH', f'/nowhere:{tmp_path / "ws"}')
    monkeypatch.setattr(sysconfig, 'get_path', lambda name: str(tmp_path / 'prefix'))
    return folders


def test_the_first_directory_with_the_name_wins(machine: dict[str, Path]) -> None:
    for kind in reversed(machine):
        path = good(machine[kind])
        found = locate.find('small')
        assert (found.path, found.location) == (path, kind)


def test_a_name_comes_from_the_index_or_the_file(machine: dict[str, Path]) -> None:
    good(machine['cache'], 'listed').rename(machine['cache'] / 'other-file.onnx')
    write_index(machine['cache'])
    assert locate.find('listed').path.name == 'other-file.onnx'
    assert locate.find('listed').entry
    good(machine['cache'], 'loose')
    assert locate.find('loose').entry is None
    with pytest.raises(ModelError, match=r"known are .*'listed', 'loose'"):
        locate.find('other-file')


def test_an_unknown_name_lists_names_and_directories(machine: dict[str, Path]) -> None:
    good(machine['ament'], 'walker')
    with pytest.raises(ModelError, match="'runner'.*'walker'") as rejected:
        locate.find('runner')
    assert all(str(folder) in str(rejected.value) for folder in machine.values())


def test_a_prefix_that_comes_twice_does_not_change_the_order(machine: dict[str, Path], tmp_path: Path,
                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    prefixes = [tmp_path / name for name in ('prefix', 'ws')]
    monkeypatch.setenv('AMENT_PREFIX_PATH', ':'.join(map(str, prefixes)))
    assert [path for path, kind in locate.model_directories().items() if kind == 'ament'] == [
        prefix / SHARE for prefix in prefixes]


@pytest.mark.parametrize('name', ['', '..', '.hidden', 'a b', 'a\nb', 'x' * 300, '-x', '~', '%s'])
def test_a_string_that_is_neither_name_nor_path_is_rejected(name: str, machine: dict[str, Path]) -> None:
    with pytest.raises(ModelError, match='expected a name or the path of an ONNX file'):
        locate.find(name)


def test_a_path_in_a_directory_has_its_index_entry(machine: dict[str, Path], tmp_path: Path) -> None:
    path = good(machine['cache'])
    write_index(machine['cache'])
    (tmp_path / 'link').symlink_to(machine['cache'])
    assert locate.find(str(path)).entry
    assert locate.find(str(tmp_path / 'link' / path.name)).entry
    assert locate.find(str(good(tmp_path))).entry is None


def test_a_file_here_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert locate.find('small.onnx').path == Path('small.onnx')


def test_outside_a_source_tree_and_without_a_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / 'prefix' / 'lib' / 'python3.11' / 'site-packages' / 'shufflenet_ros'
    monkeypatch.setattr(locate, '_PACKAGE', package)
    directories = locate.model_directories()
    assert 'source tree' not in directories.values()
    assert directories[tmp_path / 'prefix' / SHARE] == 'installed'
    monkeypatch.delenv('HOME', raising=False)
    monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
    assert locate.model_directories()
