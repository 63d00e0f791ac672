"""The command: verbs load only when called, errors are one line, pipes may break."""

from __future__ import annotations

import argparse
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from shufflenet_ros import cli
from shufflenet_ros.core.card import CardError

Verb = Callable[[argparse.Namespace], int]
UseVerb = Callable[[Verb], None]


def verb_that(run: Verb) -> types.ModuleType:
    module = types.ModuleType('shufflenet_ros_test_verb', 'A verb for this test.')
    module.add_arguments = lambda parser: parser.add_argument('--json', action='store_true')  # type: ignore[attr-defined]
    module.run = run  # type: ignore[attr-defined]
    return module


@pytest.fixture
def use_verb(monkeypatch: pytest.MonkeyPatch) -> UseVerb:
    def install(run: Verb) -> None:
        module = verb_that(run)
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


def test_help_loads_no_verb_and_no_library(repo_root: Path) -> None:
    code = (
        "import sys; from shufflenet_ros import cli; cli.main(['--help']); "
        "bad = {'numpy', 'cv2', 'onnxruntime', 'torch', 'onnx', 'shufflenet_ros.tools'} & set(sys.modules); "
        "sys.exit(f'loaded: {bad}' if bad else 0)"
    )
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, cwd=repo_root, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    from shufflenet_ros import __version__
    assert cli.main(['--version']) == 0
    assert capsys.readouterr().out == f'{__version__}\n'


def test_an_unknown_verb_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
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
])
def test_what_the_user_can_mend_is_one_line(use_verb: UseVerb, capsys: pytest.CaptureFixture[str],
                                            error: Exception, text: str) -> None:
    use_verb(raising(error))
    assert cli.main(['probe']) == 2
    seen = capsys.readouterr()
    assert seen.out == ''
    assert seen.err.startswith('shufflenet-ros: error: ') and seen.err.count('\n') == 1
    assert text in seen.err


@pytest.mark.parametrize(
    'error', [ValueError('a bug'), TypeError('a bug'), ModuleNotFoundError('x', name='x')]
)
def test_a_bug_keeps_its_traceback(use_verb: UseVerb, error: Exception) -> None:
    use_verb(raising(error))
    with pytest.raises(type(error)):
        cli.main(['probe'])


def test_the_verbs_status_is_the_commands(use_verb: UseVerb) -> None:
    use_verb(lambda args: 1 if args.json else 0)
    assert cli.main(['probe', '--json']) == 1
    assert cli.main(['probe']) == 0


def test_a_broken_pipe_is_quiet(repo_root: Path) -> None:
    code = ('import sys, types; from shufflenet_ros import cli; m = types.ModuleType("v", "x");'
            'm.add_arguments = lambda p: None;'
            'm.run = lambda a: [print("x" * 1000) for _ in range(1000)] and 0;'
            'sys.modules["v"] = m; cli.VERBS["v"] = ("v", ""); sys.exit(cli.main(["v"]))')
    shell = f"{sys.executable} -c '{code}' | head -n 1"
    done = subprocess.run(['bash', '-c', shell], capture_output=True, text=True, cwd=repo_root, timeout=60)
    assert done.stdout == 'x' * 1000 + '\n'
    assert done.stderr == ''
