# SPDX-License-Identifier: Apache-2.0
"""Say why no results come, and what to do.

Checks the libraries, the model, ROS, the node with its images and diagnostics, and the machine. What is wrong
comes first, with the remedy. The exit status is 0 if nothing is wrong, 1 if a problem was found.
"""

import argparse
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shufflenet_ros.cli.options import add_model_options, number
from shufflenet_ros.cli.tables import aligned
from shufflenet_ros.core.console import say, say_json
from shufflenet_ros.core.watch import Level
from shufflenet_ros.doctor.finding import Finding, findings_of, start_checks
from shufflenet_ros.doctor.machine import check_machine

ROOT = '/'  # of the file system, for /proc, /sys and /dev/shm
LIMIT_S = 9.5  # for everything


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add = parser.add_argument
    add('--node', type=_full_name, metavar='NAME',
        help='full name of the node (default: the first one found, or /shufflenet)')
    add('--image-topic', nargs='+', default=[], type=_full_name, metavar='TOPIC',
        help='full names of topics that the node should read (default: those that it reads)')
    add('--params-file', default='', metavar='FILE', help='also check that this file is for the node')
    add('--seconds', type=number(float, 1, 4, 'a number in [1, 4]'), default=3.0,
        help='how long to look at the node (default: %(default)s)')
    add('--json', action='store_true', help='one JSON object')
    add_model_options(parser, precision='auto')


def _full_name(text: str) -> str:
    name = f'/{text.lstrip("/")}'
    if not re.fullmatch(r'(/[A-Za-z_]\w*)+', name, re.ASCII):
        raise argparse.ArgumentTypeError(f'{text!r}: expected a full name such as /camera/image_raw')
    return name


def run(args: argparse.Namespace) -> int:
    """Check everything; 1 if anything is wrong."""
    findings = sorted(_findings(vars(args)), key=lambda finding: -finding.level)
    problems = [finding for finding in findings if finding.level > Level.OK]
    if args.json:
        say_json({'ok': not problems, 'checks': [finding.as_json() for finding in findings]})
    else:
        say(*_text(findings, problems))
    return bool(problems)


def _findings(args: dict[str, Any]) -> Iterator[Finding]:
    until = time.monotonic() + LIMIT_S  # on a clock that all processes share
    request = args | {'root': ROOT, 'until': until}
    model = start_checks('shufflenet_ros.doctor.model', request)
    ros = start_checks('shufflenet_ros.doctor.ros_setup', request)
    machine = list(check_machine(Path(request['root']), os.environ))
    yield from findings_of('model', model, until, f'shufflenet-ros models check {request["model"]}')
    yield from findings_of('ROS', ros, until, 'correct or unset RMW_IMPLEMENTATION and the DDS profile')
    yield from machine


def _text(findings: list[Finding], problems: list[Finding]) -> Iterator[str]:
    for finding in problems:
        yield f'{finding.level.name} {finding.name}: {finding.found}'
        yield f'  expected: {finding.expected}'
        yield f'  remedy: {finding.remedy}'
    if not problems:
        yield 'nothing is wrong'
    yield ''
    yield from aligned([('check', 'found'), *((finding.name, finding.found) for finding in findings
                                              if finding.level == Level.OK)])
