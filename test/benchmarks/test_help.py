# SPDX-License-Identifier: Apache-2.0
"""--help of a measurement prints help, and measures nothing."""

import runpy

import pytest


def test_every_module_that_runs_parses_arguments(repo_root):
    files = [file for folder in ('benchmarks', 'demo') for file in sorted((repo_root / folder).rglob('*.py'))
             if "if __name__ == '__main__':" in file.read_text()]
    assert repo_root / 'benchmarks' / 'zoo.py' in files and len(files) > 10
    assert not [file for file in files if '.parse_args(' not in file.read_text()]


@pytest.mark.parametrize('module', ['benchmarks.decode', 'benchmarks.arm.prepare', 'benchmarks.zoo',
                                    'shufflenet_ros.zoo.network_table'])
@pytest.mark.filterwarnings('ignore:.*found in sys.modules:RuntimeWarning')
def test_help_comes_before_the_measurement(module, monkeypatch, capsys):
    monkeypatch.setattr('sys.argv', [module, '--help'])
    with pytest.raises(SystemExit, match='0'):
        runpy.run_module(module, run_name='__main__')
    assert capsys.readouterr().out.startswith('usage: ')
