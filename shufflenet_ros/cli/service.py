# SPDX-License-Identifier: Apache-2.0
"""Print a systemd unit that starts the node at boot, restarts it, and limits what it can do.

Run it in the shell in which the node works: the unit gets this installation and this shell's ROS settings.

  unit=/etc/systemd/system/shufflenet.service
  shufflenet-ros service --print image_topic:=/camera/image_raw | sudo tee $unit
  sudo systemctl daemon-reload && sudo systemctl enable --now shufflenet
"""

import argparse
import getpass
import os
from pathlib import Path

from shufflenet_ros.core.console import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add = parser.add_argument
    add('arguments', nargs='*', type=_argument, metavar='NAME:=VALUE',
        help='launch arguments of classify.launch.py, except respawn')
    add('--print', action='store_true', required=True, help='print the unit; nothing is installed')
    add('--user', help='who runs the node, best who runs the camera driver (default: you)')
    add('--memory-max', default='1G', metavar='SIZE',
        help='the node is restarted when it needs more (default: %(default)s)')


def _argument(text: str) -> tuple[str, str]:
    name, separator, value = text.partition(':=')
    if not separator:
        raise argparse.ArgumentTypeError(f'{text!r}: expected name:=value, such as model:=NAME')
    return name, value


def run(args: argparse.Namespace) -> int:
    """Print the unit.

    Raises:
        ShuffleNetError: an invalid argument, or an incomplete installation.
    """
    # Imported here so that --help does not need ROS.
    from shufflenet_ros.ros import systemd_unit

    user = args.user or getpass.getuser()
    home, installation = systemd_unit.home_of(user), systemd_unit.find_installation(os.environ)
    words = systemd_unit.node_words(installation, dict(args.arguments))
    facts = systemd_unit.facts(installation, words, os.environ, user, home, args.memory_max)
    template = Path(installation.share, 'config', 'shufflenet.service').read_text(encoding='utf-8')
    say(*systemd_unit.fill(template, facts))
    return 0
