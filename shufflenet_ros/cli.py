"""The command `shufflenet-ros`: a table of verbs, each loaded only when called.

A verb's module has `add_arguments(parser)` and `run(args) -> int`. What a machine reads goes to stdout
alone, everything else to stderr. An error that the user can mend is one line and exit status 2. A verb of
two words is looked up before the verb that is its first: `models import` needs torch, `models` does not.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

VERBS = {
    'classify': ('shufflenet_ros.tools.classify', 'name what images, folders, videos and bags show'),
    'models': ('shufflenet_ros.tools.models', 'list, show, check, fetch and complete model files'),
    'models import': ('shufflenet_ros.zoo.cli_import', "turn somebody else's weights into a bundle"),
    'models pack': ('shufflenet_ros.zoo.native.cli_pack',
                    'write the variants of a bundle that our own kernels run'),
    'evaluate': ('shufflenet_ros.tools.evaluate',
                 'score a bundle on labelled pictures: accuracy, calibration, retrieval'),
    'replay': ('shufflenet_ros.ros.replay', 'publish a bag over ROS 2 with its own timing'),
    'train': ('shufflenet_ros.zoo.training.cli', 'train a ShuffleNet on labelled pictures, on any devices'),
    'complexity': ('shufflenet_ros.zoo.cli_complexity', 'count parameters and multiply-adds of networks'),
    'export': ('shufflenet_ros.zoo.cli_export', 'turn a trained checkpoint into a bundle'),
}

REMEDIES = {
    'onnx': "pip install 'shufflenet_ros[export]'",
    'torch': "pip install 'shufflenet_ros[train]'",
    'lightning_fabric': "pip install 'shufflenet_ros[train]'",
    'rosbags': 'pip install rosbags',
    'tqdm': 'pip install tqdm',
    'rclpy': 'source a ROS 2 distribution, or run make setup in the clone',
}


def usage() -> str:
    """The help text: every verb with one line, no verb loaded."""
    lines = [f'  {verb:<13} {summary}' for verb, (_, summary) in VERBS.items()]
    return '\n'.join([
        'usage: shufflenet-ros VERB [options]', '', 'ShuffleNet on camera topics, bags and files.', '',
        'verbs:', *lines, '',
        'shufflenet-ros VERB --help tells more; shufflenet-ros --version tells the version.', ''])


def _fail(message: str) -> int:
    print(f'shufflenet-ros: error: {" ".join(message.split())}', file=sys.stderr)
    return 2


def _run(verb: str, arguments: Sequence[str]) -> int:
    module = importlib.import_module(VERBS[verb][0])
    parser = argparse.ArgumentParser(prog=f'shufflenet-ros {verb}', description=module.__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    module.add_arguments(parser)
    status: int = module.run(parser.parse_args(arguments))
    sys.stdout.flush()
    return status


def _is_ours(error: Exception) -> bool:
    return type(error).__module__.startswith('shufflenet_ros.')


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and give its exit status: 0 done, 1 the verb says no, 2 wrong usage or input."""
    verb, *arguments = (sys.argv[1:] if argv is None else argv) or ['--help']
    if verb in ('-h', '--help'):
        print(usage(), end='')
        return 0
    if verb == '--version':
        from shufflenet_ros import __version__
        print(__version__)
        return 0
    if arguments and f'{verb} {arguments[0]}' in VERBS:
        verb, arguments = f'{verb} {arguments[0]}', arguments[1:]
    if verb not in VERBS:
        return _fail(f'there is no verb {verb!r}; expected one of {", ".join(VERBS)}')
    try:
        return _run(verb, arguments)
    except BrokenPipeError:
        # The reader (head, a pager) has seen enough; keep the interpreter's own last flush quiet too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    except ModuleNotFoundError as error:
        if error.name not in REMEDIES:
            raise
        return _fail(f'{verb} needs the Python module {error.name}: {REMEDIES[error.name]}')
    except OSError as error:
        return _fail(f'{error.filename}: {error.strerror}' if error.filename else str(error))
    except (ValueError, RuntimeError) as error:
        if not _is_ours(error):
            raise
        return _fail(str(error))


if __name__ == '__main__':
    sys.exit(main())
