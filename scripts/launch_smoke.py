# SPDX-License-Identifier: Apache-2.0
"""Start the node, send it an image, expect a result, stop it: `python3 scripts/launch_smoke.py [COMMAND]`.

COMMAND is what starts the node; without it, `ros2 launch shufflenet_ros classify.launch.py`. The image is
sent again and again, because a best-effort subscriber may miss one. Succeeds (0) when a result with labels
and the image's own stamp arrives and the command ends after SIGINT.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from array import array
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import rclpy
from builtin_interfaces.msg import Time
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from vision_msgs.msg import Classification

LAUNCH = ('ros2', 'launch', 'shufflenet_ros', 'classify.launch.py')
RESULT_TIMEOUT_S = 60.0  # a first start verifies and times the model's variants
STOP_TIMEOUT_S = 20.0
PERIOD_S = 0.1
STAMP = Time(sec=1234, nanosec=5678)
HEIGHT, WIDTH = 240, 320


class SmokeError(Exception):
    """The launch doesn't work; the message says what was expected."""


def gradient() -> Image:
    """An rgb8 image with a gradient in each direction."""
    pixels = bytes(value for y in range(HEIGHT) for x in range(WIDTH) for value in (x % 256, y % 256, 128))
    message = Image(height=HEIGHT, width=WIDTH, encoding='rgb8', step=3 * WIDTH, data=array('B', pixels))
    message.header.stamp, message.header.frame_id = STAMP, 'smoke'
    return message


def first_result(node: Any, process: subprocess.Popen[bytes], timeout_s: float) -> Any:
    """Send the image until the node's first result.

    Raises:
        SmokeError: none came within `timeout_s`, or the command ended.
    """
    results: list[Any] = []
    node.create_subscription(Classification, '/shufflenet/classification', results.append, 10)
    publisher = node.create_publisher(Image, '/image_raw', qos_profile_sensor_data)
    image = gradient()
    end = time.monotonic() + timeout_s
    while not results:
        if process.poll() is not None:
            raise SmokeError(f'the command ended with status {process.returncode} before any result')
        if time.monotonic() > end:
            raise SmokeError(f'no message on /shufflenet/classification within {timeout_s:g} s')
        publisher.publish(image)
        rclpy.spin_once(node, timeout_sec=PERIOD_S)
    return results[0]


def check(result: Any) -> str:
    """The best label.

    Raises:
        SmokeError: the result has no labels, or isn't of the image that was sent.
    """
    if not result.results:
        raise SmokeError('the result has no labels')
    if (result.header.stamp, result.header.frame_id) != (STAMP, 'smoke'):
        raise SmokeError(f"the result's header is {result.header}, expected the image's")
    return f'{result.results[0].class_id} {result.results[0].score:.3f}'


def stop(process: subprocess.Popen[bytes]) -> None:
    """Send SIGINT to the command and its children, as Ctrl-C does.

    Raises:
        SmokeError: it was still running `STOP_TIMEOUT_S` later.
    """
    os.killpg(process.pid, signal.SIGINT)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise SmokeError(f'the command still ran {STOP_TIMEOUT_S:g} s after SIGINT') from None


def smoke(command: Sequence[str], timeout_s: float = RESULT_TIMEOUT_S) -> str:
    """Run the whole check; the best label.

    Raises:
        SmokeError: a step failed.
    """
    process = subprocess.Popen(command, start_new_session=True)
    rclpy.init()
    try:
        label = check(first_result(rclpy.create_node('launch_smoke'), process, timeout_s))
        stop(process)
        return label
    finally:
        rclpy.try_shutdown()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def main(arguments: Sequence[str]) -> int:
    """0 if the launch works, else 1 with a message."""
    try:
        label = smoke(arguments or LAUNCH)
    except SmokeError as error:
        print(f'launch_smoke: {error}', file=sys.stderr)
        return 1
    print(f'launch_smoke: a result came, best label: {label}')
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
