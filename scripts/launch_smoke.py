# SPDX-License-Identifier: Apache-2.0
"""Start the node, send it an image, expect a result, stop it: `python3 scripts/launch_smoke.py [COMMAND]`.

COMMAND starts the node; the default is `ros2 launch shufflenet_ros classify.launch.py`. The image is sent
again and again, because a best-effort subscriber may miss one. The exit status is 0 if a result with labels
and the image's own header arrives and the command ends after SIGINT.
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
from std_msgs.msg import Header
from vision_msgs.msg import Classification

LAUNCH = ('ros2', 'launch', 'shufflenet_ros', 'classify.launch.py')
RESULT_TIMEOUT_S = 60.0  # a first start verifies and times the model's variants
STOP_TIMEOUT_S = 20.0
PERIOD_S = 0.1
HEADER = Header(stamp=Time(sec=1234, nanosec=5678), frame_id='smoke')
HEIGHT, WIDTH = 240, 320


class SmokeError(Exception):
    """The launch doesn't work; the message says what was expected."""


def first_result(process: subprocess.Popen[bytes], timeout_s: float) -> Any:
    """Send an image until the node's first result.

    Raises:
        SmokeError: none came within `timeout_s`, or the command ended.
    """
    node = rclpy.create_node('launch_smoke')
    results: list[Any] = []
    node.create_subscription(Classification, '/shufflenet/classification', results.append, 10)
    publisher = node.create_publisher(Image, '/image_raw', qos_profile_sensor_data)
    gradient = bytes(value for y in range(HEIGHT) for x in range(WIDTH) for value in (x % 256, y, 128))
    image = Image(header=HEADER, height=HEIGHT, width=WIDTH, encoding='rgb8', step=3 * WIDTH,
                  data=array('B', gradient))
    end = time.monotonic() + timeout_s
    while not results:
        if process.poll() is not None:
            raise SmokeError(f'the command ended with status {process.returncode} before any result')
        if time.monotonic() > end:
            raise SmokeError(f'no message on /shufflenet/classification within {timeout_s:g} s')
        publisher.publish(image)
        rclpy.spin_once(node, timeout_sec=PERIOD_S)
    return results[0]


def smoke(command: Sequence[str], timeout_s: float = RESULT_TIMEOUT_S) -> str:
    """Run the command until a result comes, then stop it as Ctrl-C does; return the best label.

    Raises:
        SmokeError: no result, one without labels or with another header, or the command doesn't end.
    """
    process = subprocess.Popen(command, start_new_session=True)
    rclpy.init()
    try:
        result = first_result(process, timeout_s)
        if not result.results:
            raise SmokeError('the result has no labels')
        if result.header != HEADER:
            raise SmokeError(f"the result's header is {result.header}, expected the image's")
        os.killpg(process.pid, signal.SIGINT)
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise SmokeError(f'the command still ran {STOP_TIMEOUT_S:g} s after SIGINT') from None
    finally:
        rclpy.try_shutdown()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return f'{result.results[0].class_id} {result.results[0].score:.3f}'


if __name__ == '__main__':
    try:
        print(f'launch_smoke: a result came, best label: {smoke(sys.argv[1:] or LAUNCH)}')
    except SmokeError as error:
        sys.exit(f'launch_smoke: {error}')
