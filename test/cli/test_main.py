# SPDX-License-Identifier: Apache-2.0
"""The command: verbs load only when called, errors are one line, pipes may break."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shufflenet_ros.cli import main as cli
from shufflenet_ros.core.card import CardError

Verb = Callable[[argparse.Namespace], int]
UseVerb = Callable[[Verb], None]
Python = Callable[..., 'subprocess.CompletedProcess[str]']


@pytest.fixture
def use_verb(monkeypatch: pytest.MonkeyPatch) -> UseVerb:
    """Make `probe` a verb that runs a function."""
    def install(run: Verb) -> None:
        module: Any = types.ModuleType('shufflenet_ros_test_verb', 'A verb for this test.')
        module.add_arguments = lambda parser: parser.add_argument('--json', action='store_true')
        module.run = run
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(cli.VERBS, 'probe', (module.__name__, 'for this test'))
    return install


def raising(error: BaseException) -> Verb:
    def run(args: argparse.Namespace) -> int:
        raise error
    return run


@pytest.mark.parametrize('argv', [[], ['--help'], ['-h']])
def test_help_lists_every_verb_with_one_line(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(argv) == 0
    out = capsys.readouterr().out
    for verb, (_, summary) in cli.VERBS.items():
        assert any(line.split() == [*verb.split(), *summary.split()] for line in out.splitlines())


def test_help_loads_no_verb_and_no_library(python: Python) -> None:
    code = ("import sys; from shufflenet_ros.cli import main as cli; cli.main(['--help']); "
            "bad = {'numpy', 'cv2', 'onnxruntime', 'torch', 'onnx', 'shufflenet_ros.cli.classify'}; "
            "loaded = bad & set(sys.modules); sys.exit(f'loaded: {loaded}' if loaded else 0)")
    done = python('-c', code)
    assert done.returncode == 0, done.stderr


def test_the_version_and_an_unknown_verb(capsys: pytest.CaptureFixture[str]) -> None:
    from shufflenet_ros import __version__
    assert cli.main(['--version']) == 0
    assert capsys.readouterr().out == f'{__version__}\n'
    assert cli.main(['clasify']) == 2
    seen = capsys.readouterr()
    assert seen.out == ''
    assert "'clasify'" in seen.err and 'classify' in seen.err


@pytest.mark.parametrize(('error', 'text'), [
    (CardError('card field name: got 3'), 'card field name: got 3'),
    (CardError('two\nlines'), 'two lines'),
    (FileNotFoundError(2, 'No such file or directory', 'a.png'), 'a.png: No such file or directory'),
    (ModuleNotFoundError("No module named 'onnx'", name='onnx'), "pip install 'shufflenet_ros[export]'"),
    (ModuleNotFoundError("No module named 'torch'", name='torch'), "pip install 'shufflenet_ros[train]'"),
    (ModuleNotFoundError("No module named 'rosbags'", name='rosbags'), 'pip install rosbags; if pip reports'),
    (CardError('a\x1b[2J\u202e'), 'a\\x1b[2J\\u202e'),
])
def test_an_error_that_the_user_can_correct_is_one_line(
        use_verb: UseVerb, capsys: pytest.CaptureFixture[str], error: Exception, text: str) -> None:
    use_verb(raising(error))
    assert cli.main(['probe']) == 2
    seen = capsys.readouterr()
    assert seen.out == ''
    assert seen.err.startswith('shufflenet-ros: error: ') and seen.err.count('\n') == 1
    assert text in seen.err


@pytest.mark.parametrize('error', [
    ValueError('a bug'), TypeError('a bug'), ModuleNotFoundError('x', name='x')])
def test_a_bug_keeps_its_traceback(use_verb: UseVerb, error: Exception) -> None:
    use_verb(raising(error))
    with pytest.raises(type(error)):
        cli.main(['probe'])


def test_the_status_of_the_verb_is_the_status_of_the_command(use_verb: UseVerb) -> None:
    use_verb(lambda args: 1 if args.json else 0)
    assert cli.main(['probe', '--json']) == 1
    assert cli.main(['probe']) == 0


def test_a_broken_pipe_is_quiet(repo_root: Path) -> None:
    code = ('import sys, types; from shufflenet_ros.cli import main as cli; m = types.ModuleType("v", "x");'
            'm.add_arguments = lambda p: None;'
            'm.run = lambda a: [print("x" * 1000) for _ in range(1000)] and 0;'
            'sys.modules["v"] = m; cli.VERBS["v"] = ("v", ""); sys.exit(cli.main(["v"]))')
    shell = f"{sys.executable} -c '{code}' | head -n 1"
    done = subprocess.run(['bash', '-c', shell], capture_output=True, text=True, cwd=repo_root, timeout=60)
    assert done.stdout == 'x' * 1000 + '\n'
    assert done.stderr == ''


def shell(repo_root: Path, redirection: str, verb: str = 'models list --kind network', **extra: str
          ) -> subprocess.CompletedProcess[str]:
    line = f'{sys.executable} -m shufflenet_ros.cli {verb} {redirection}'
    return subprocess.run(['bash', '-c', line], capture_output=True, text=True, cwd=repo_root, timeout=60,
                          env=os.environ | extra)


@pytest.mark.parametrize(('verb', 'redirection', 'cause'), [
    ('models list --kind network', '> /dev/full', 'No space left on device'),
    ('models list --kind network', '>&-', 'Bad file descriptor'),
    ('--help', '> /dev/full', 'No space left on device'),
    ('classify --help', '>&-', 'Bad file descriptor'),
])
def test_lost_output_is_one_line_and_status_1(
        repo_root: Path, verb: str, redirection: str, cause: str) -> None:
    done = shell(repo_root, redirection, verb)
    assert (done.returncode, done.stdout) == (1, '')
    assert done.stderr.startswith(f'shufflenet-ros: error: standard output cannot be written: {cause}; ')
    assert done.stderr.count('\n') == 1


@pytest.mark.parametrize('redirection', ['2> /dev/full', '<&- 2>&-'])
def test_without_standard_error_the_output_is_the_same(repo_root: Path, redirection: str) -> None:
    whole, odd = shell(repo_root, ''), shell(repo_root, redirection)
    assert (odd.returncode, odd.stdout, odd.stderr) == (0, whole.stdout, '')
    wrong = shell(repo_root, redirection, 'models show no-such-model')
    assert (wrong.returncode, wrong.stdout) == (2, '')


def test_an_ascii_locale_takes_every_name(repo_root: Path, tmp_path: Path) -> None:
    (tmp_path / 'gr\u00fcn.png').write_bytes(b'none')
    for settings in ({'LC_ALL': 'C', 'PYTHONUTF8': '0', 'PYTHONCOERCECLOCALE': '0'},
                     {'PYTHONIOENCODING': 'ascii:strict'}):
        done = shell(repo_root, '', f'classify {tmp_path}', **settings)
        assert done.returncode == 0, done.stderr
        assert done.stdout.isascii() and done.stdout.endswith('n.png #0: dropped, bad_format\n')
