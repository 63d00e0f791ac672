# SPDX-License-Identifier: Apache-2.0
"""The command: verbs load only when called, errors are one line, pipes may break."""

import os
import subprocess
import sys
import types

import pytest

from shufflenet_ros import __version__
from shufflenet_ros.cli import main as cli
from shufflenet_ros.core.card import CardError


@pytest.fixture
def use_verb(monkeypatch):
    """Make `probe` a verb that runs a function, or raises an error."""
    def install(outcome):
        def run(args):
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome(args)
        module = types.ModuleType('shufflenet_ros_test_verb', 'A verb for this test.')
        module.add_arguments = lambda parser: parser.add_argument('--json', action='store_true')
        module.run = run
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(cli.VERBS, 'probe', (module.__name__, 'for this test'))
    return install


@pytest.mark.parametrize('argv', [[], ['--help'], ['-h']])
def test_help_lists_every_verb_with_one_line(argv, shufflenet):
    out = shufflenet(*argv).out
    for verb, (_, summary) in cli.VERBS.items():
        assert any(line.split() == [*verb.split(), *summary.split()] for line in out.splitlines())


def test_help_loads_no_verb_and_no_library(python):
    code = ("import sys; from shufflenet_ros.cli import main as cli; cli.main(['--help']); "
            "bad = {'numpy', 'cv2', 'onnxruntime', 'torch', 'onnx', 'shufflenet_ros.cli.classify'}; "
            "loaded = bad & set(sys.modules); sys.exit(f'loaded: {loaded}' if loaded else 0)")
    done = python('-c', code)
    assert done.returncode == 0, done.stderr


def test_the_version_and_an_unknown_verb(shufflenet):
    assert shufflenet('--version').out == f'{__version__}\n'
    ran = shufflenet('clasify', status=2)
    assert ran.out == '' and "'clasify'" in ran.err and 'classify' in ran.err


@pytest.mark.parametrize(('error', 'text'), [
    (CardError('card field name: got 3'), 'card field name: got 3'),
    (CardError('two\nlines'), 'two lines'),
    (FileNotFoundError(2, 'No such file or directory', 'a.png'), 'a.png: No such file or directory'),
    (ModuleNotFoundError("No module named 'onnx'", name='onnx'), "pip install 'shufflenet_ros[export]'"),
    (ModuleNotFoundError("No module named 'torch'", name='torch'), "pip install 'shufflenet_ros[train]'"),
    (ModuleNotFoundError("No module named 'rosbags'", name='rosbags'), 'pip install rosbags; if pip reports'),
    (CardError('a\x1b[2J\u202e'), 'a\\x1b[2J\\u202e'),
])
def test_an_error_that_the_user_can_correct_is_one_line(use_verb, shufflenet, error, text):
    use_verb(error)
    ran = shufflenet('probe', status=2)
    assert ran.out == '' and ran.err.startswith('shufflenet-ros: error: ') and ran.err.count('\n') == 1
    assert text in ran.err


@pytest.mark.parametrize('error', [
    ValueError('a bug'), TypeError('a bug'), ModuleNotFoundError('x', name='x')])
def test_a_bug_keeps_its_traceback(use_verb, error):
    use_verb(error)
    with pytest.raises(type(error)):
        cli.main(['probe'])


def test_the_status_of_the_verb_is_the_status_of_the_command(use_verb, shufflenet):
    use_verb(lambda args: 1 if args.json else 0)
    shufflenet('probe', '--json', status=1)
    shufflenet('probe', status=0)


@pytest.fixture
def shell(repo_root):
    """Run a bash line, where `python` is this Python."""
    def run(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(['bash', '-c', f'python() {{ {sys.executable} "$@"; }}; {line}'], cwd=repo_root,
                              capture_output=True, text=True, timeout=60, env=os.environ | environment)
    return run


def test_a_broken_pipe_is_quiet(shell):
    code = ('import sys, types; from shufflenet_ros.cli import main as cli; m = types.ModuleType("v", "x");'
            'm.add_arguments = lambda p: None;'
            'm.run = lambda a: [print("x" * 1000) for _ in range(1000)] and 0;'
            'sys.modules["v"] = m; cli.VERBS["v"] = ("v", ""); sys.exit(cli.main(["v"]))')
    done = shell(f"python -c '{code}' | head -n 1; exit ${{PIPESTATUS[0]}}")
    assert (done.returncode, done.stdout, done.stderr) == (0, 'x' * 1000 + '\n', '')


LIST = 'python -m shufflenet_ros.cli models list --kind network'


@pytest.mark.parametrize(('line', 'cause'), [
    (f'{LIST} > /dev/full', 'No space left on device'), (f'{LIST} >&-', 'Bad file descriptor'),
    ('python -m shufflenet_ros.cli --help > /dev/full', 'No space left on device'),
    ('python -m shufflenet_ros.cli models --help >&-', 'Bad file descriptor'),
])
def test_lost_output_is_one_line_and_status_1(shell, line, cause):
    done = shell(line)
    assert (done.returncode, done.stdout) == (1, '')
    assert done.stderr.startswith(f'shufflenet-ros: error: standard output cannot be written: {cause}; ')
    assert done.stderr.count('\n') == 1


def test_without_standard_error_the_output_is_the_same(shell):
    whole = shell(LIST).stdout
    for redirection in ('2> /dev/full', '<&- 2>&-'):
        done = shell(f'{LIST} {redirection}')
        assert (done.returncode, done.stdout, done.stderr) == (0, whole, '') and whole
        wrong = shell(f'python -m shufflenet_ros.cli no-such-verb {redirection}')
        assert (wrong.returncode, wrong.stdout) == (2, '')


@pytest.mark.parametrize('settings', [
    {'LC_ALL': 'C', 'PYTHONUTF8': '0', 'PYTHONCOERCECLOCALE': '0'}, {'PYTHONIOENCODING': 'ascii:strict'}])
def test_an_ascii_locale_takes_every_name(shell, tmp_path, settings):
    (tmp_path / 'gr\u00fcn.png').write_bytes(b'none')
    done = shell(f'python -m shufflenet_ros.cli classify {tmp_path}', **settings)
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii() and done.stdout.endswith('n.png #0: dropped, bad_format\n')
