# SPDX-License-Identifier: Apache-2.0
"""The command `shufflenet-ros`: a table of verbs. A verb's module is loaded only when the verb is called.

A verb's module has `add_arguments(parser)` and `run(args) -> int`. Machine-readable output goes to stdout,
everything else to stderr. An error that the user can correct is one line; the exit status is 2 for wrong
usage or input, 1 for a file or standard output that cannot be written. Verbs of two words are looked up
first: `models import` needs torch, `models` does not.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import NoReturn

from shufflenet_ros import __version__
from shufflenet_ros.core.console import OutputError, flush_output, prepare_streams, say
from shufflenet_ros.core.errors import ShuffleNetError
from shufflenet_ros.core.files import WriteError
from shufflenet_ros.core.text import one_line

VERBS = {
    'classify': ('shufflenet_ros.cli.classify', 'classify images, folders, videos and bags'),
    'report': ('shufflenet_ros.cli.report', 'write a page about bags, folders and videos'),
    'models': ('shufflenet_ros.cli.models', 'list, show, check, fetch and edit model files'),
    'models import': ('shufflenet_ros.cli.models_import', 'make a bundle from published weights'),
    'models pack': ('shufflenet_ros.cli.models_pack', 'make native variants of a bundle: fp32, fp16, int8'),
    'evaluate': ('shufflenet_ros.cli.evaluate',
                 'score a bundle on labeled images: accuracy, calibration, retrieval'),
    'watch': ('shufflenet_ros.cli.watch', 'look at a running node in a browser or a terminal'),
    'replay': ('shufflenet_ros.cli.replay', 'publish a bag over ROS 2 with the recorded timing'),
    'service': ('shufflenet_ros.cli.service', 'print a systemd unit that starts the node at boot'),
    'doctor': ('shufflenet_ros.cli.doctor', 'say why no results come, and what to do'),
    'train': ('shufflenet_ros.cli.train', 'train a ShuffleNet on labeled images'),
    'complexity': ('shufflenet_ros.cli.complexity', 'count parameters and multiply-adds of networks'),
    'export': ('shufflenet_ros.cli.export', 'make a bundle from a training run'),
}


def _from_pip(package: str) -> str:
    """Debian and Ubuntu protect their Python (PEP 668); there, pip works in a virtual environment only."""
    return (f'pip install {package}; if pip reports externally-managed-environment: python3 -m venv '
            f'--system-site-packages ~/shufflenet && ~/shufflenet/bin/pip install {package}, then run '
            '~/shufflenet/bin/python -m shufflenet_ros.cli')


REMEDIES = {
    **{name: _from_pip(name) for name in ('rosbags', 'tqdm', 'matplotlib', 'mcap')},
    **{name: f'sudo apt install python3-{name}, or pip install {name}' for name in ('aiohttp', 'jinja2')},
    **dict.fromkeys(('torch', 'lightning_fabric', 'sklearn'), "pip install 'shufflenet_ros[train]'"),
    'onnx': "pip install 'shufflenet_ros[export]'",
    'rclpy': 'source a ROS 2 distribution, or run make setup in the clone',
}

USAGE = """usage: shufflenet-ros VERB [options]

ShuffleNet on camera topics, bags and files.

verbs:
{verbs}

shufflenet-ros VERB --help lists its options; shufflenet-ros --version prints the version."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        super().error(one_line(message))


def _fail(message: str, status: int = 2) -> int:
    say(f'shufflenet-ros: error: {" ".join(message.split())}', to=sys.stderr)
    return status


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb.

    Returns:
        The exit status: 0 on success, 1 if a check failed or output cannot be written, 2 for wrong usage or
        input, 130 after an interrupt.
    """
    prepare_streams()
    try:
        try:
            return _main((sys.argv[1:] if argv is None else argv) or ['--help'])
        finally:
            flush_output()
    except BrokenPipeError:
        return 0  # the reader (head, a pager) has closed the pipe
    except OutputError as error:
        return _fail(str(error), status=1)


def _main(argv: Sequence[str]) -> int:
    verb, *arguments = argv
    if verb in ('-h', '--help'):
        verbs = '\n'.join(f'  {name:<13} {summary}' for name, (_, summary) in VERBS.items())
        say(*USAGE.format(verbs=verbs).splitlines())
        return 0
    if verb == '--version':
        say(__version__)
        return 0
    if ' '.join(argv[:2]) in VERBS:
        verb, arguments = ' '.join(argv[:2]), arguments[1:]
    if verb not in VERBS:
        return _fail(f'unknown verb {verb!r}; expected one of {", ".join(VERBS)}')
    try:
        return _run(verb, arguments)
    except (BrokenPipeError, OutputError):
        raise
    except KeyboardInterrupt:
        return 130
    except WriteError as error:
        return _fail(str(error), status=1)
    except ModuleNotFoundError as error:
        missing = (error.name or '').partition('.')[0]
        if missing not in REMEDIES:
            raise
        return _fail(f'{verb} needs the Python module {missing}: {REMEDIES[missing]}')
    except OSError as error:
        return _fail(f'{error.filename}: {error.strerror}' if error.filename else str(error))
    except ShuffleNetError as error:
        return _fail(str(error))


def _run(verb: str, arguments: Sequence[str]) -> int:
    module = importlib.import_module(VERBS[verb][0])
    parser = _Parser(prog=f'shufflenet-ros {verb}', description=module.__doc__,
                     formatter_class=argparse.RawDescriptionHelpFormatter)
    module.add_arguments(parser)
    status: int = module.run(parser.parse_args(arguments))
    return status
