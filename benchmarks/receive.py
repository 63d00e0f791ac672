# SPDX-License-Identifier: Apache-2.0
"""CPU time to receive an image in rclpy, with and without the node's allocator settings.

`python -m benchmarks.receive` prints one JSON object. A bare subscriber in its own process receives 1280x720
images from this process over real DDS. The figure is the CPU time of all its threads.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.rig.processes import ROOT, dds_environment
from shufflenet_ros.ros.allocator import ENVIRONMENT, keep_large_blocks

HEIGHT, WIDTH = 720, 1280
FRAMES, WARM_UP, PERIOD_S, ROUNDS = 100, 20, 0.03, 3
TOPIC = '/benchmark_receive/image'


def rss_mb() -> float:
    """Return the resident memory of this process."""
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE') / 1e6


def receive() -> dict[str, Any]:
    """Run the subscriber: receive WARM_UP + FRAMES images; return the cost of the FRAMES."""
    settings = keep_large_blocks()  # before rclpy is loaded, as in the node
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from sensor_msgs.msg import Image

    rclpy.init()
    node = rclpy.create_node('receiver')
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    cpu: list[float] = []  # after each image
    node.create_subscription(Image, TOPIC, lambda image: cpu.append(time.process_time()), 5)
    end = time.monotonic() + 60.0
    while len(cpu) < WARM_UP + FRAMES:
        if time.monotonic() > end:
            raise RuntimeError(f'{len(cpu)} images arrived within 60 s, expected {WARM_UP + FRAMES}')
        executor.spin_once(timeout_sec=1.0)
    rclpy.shutdown()
    return {'cpu_ms_per_image': 1e3 * (cpu[WARM_UP + FRAMES - 1] - cpu[WARM_UP - 1]) / FRAMES,
            'rss_mb': rss_mb(), 'settings': settings}


def measure() -> dict[str, Any]:
    """Return the medians of ROUNDS alternating rounds, so that other load on the machine affects both."""
    os.environ.update(dds_environment())
    rounds: dict[str, list[Mapping[str, Any]]] = {'without_settings': [], 'with_settings': []}
    for _ in range(ROUNDS):
        for value, name in enumerate(rounds):
            rounds[name].append(_round(str(value)))
    if not rounds['with_settings'][0]['settings']:
        raise RuntimeError('the allocator settings had no effect: they need glibc')
    figures: dict[str, Any] = {'image': f'{WIDTH}x{HEIGHT} bgr8', 'images': FRAMES, 'rounds': ROUNDS}
    for name, results in rounds.items():
        figures[name] = {key: round(statistics.median(result[key] for result in results), 2)
                         for key in ('cpu_ms_per_image', 'rss_mb')}
    return figures


def _round(setting: str) -> Mapping[str, Any]:
    """Send images until the subscriber, with this setting, ends; return what it measured."""
    from sensor_msgs.msg import Image

    from scripts.rig.watcher import Watcher

    child = subprocess.Popen([sys.executable, '-m', 'benchmarks.receive', 'receive'], text=True, cwd=ROOT,
                             stdout=subprocess.PIPE, env=os.environ | {ENVIRONMENT: setting})
    try:
        with Watcher() as watcher:
            publisher = watcher.node.create_publisher(Image, TOPIC, 5)
            image = Image(height=HEIGHT, width=WIDTH, encoding='bgr8', step=3 * WIDTH,
                          data=array('B', bytes(3 * WIDTH * HEIGHT)))
            while child.poll() is None:
                if publisher.get_subscription_count() > 0:
                    publisher.publish(image)
                time.sleep(PERIOD_S)
        out, _ = child.communicate(timeout=30.0)
    finally:
        child.kill()
    result: Mapping[str, Any] = json.loads(out)
    return result


if __name__ == '__main__':
    parser = argparse.ArgumentParser(prog='python -m benchmarks.receive', description=__doc__)
    parser.add_argument('part', nargs='?', choices=['receive'], help='run the subscriber only')
    print(json.dumps(receive() if parser.parse_args().part else measure()))
