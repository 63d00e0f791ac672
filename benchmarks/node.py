# SPDX-License-Identifier: Apache-2.0
"""The real node in its own process: idle, and live at 30 Hz (`python -m benchmarks.node`)."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from benchmarks.model import HEIGHT, WIDTH, camera_images
from scripts.rig.processes import ChildProcess
from scripts.rig.watcher import Watcher, active_node, settle

TOPIC = '/camera/image_raw'
BEST_EFFORT = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)  # as camera drivers send


@contextmanager
def default_node() -> Iterator[tuple[ChildProcess, Watcher]]:
    """Run the node with its default parameters; yield it once it is active."""
    with tempfile.TemporaryDirectory() as folder, active_node({}, TOPIC, Path(folder, 'node.log')) as node:
        yield node


def cpu_seconds(pid: int) -> float:
    """Return the user and system time of a process so far."""
    fields = Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def measure_idle(seconds: float = 20.0) -> dict[str, Any]:
    """Return the share of one core that the active node uses without a camera."""
    with default_node() as (node, _):
        time.sleep(2.0)
        before, began = cpu_seconds(node.pid), time.monotonic()
        time.sleep(seconds)
        share = (cpu_seconds(node.pid) - before) / (time.monotonic() - began)
    return {'seconds': seconds, 'core_percent': round(100 * share, 2)}


def measure_live(seconds: float = 20.0, rate_hz: float = 30.0) -> dict[str, Any]:
    """Send best-effort 640x480 images; return the rate of results, lost images and ages."""
    with default_node() as (node, watcher):
        publisher = watcher.node.create_publisher(Image, TOPIC, BEST_EFFORT)
        watcher.spin_until(lambda: publisher.get_subscription_count() > 0, 10.0)
        images = [Image(height=HEIGHT, width=WIDTH, encoding='bgr8', step=3 * WIDTH,
                        data=array('B', image.tobytes())) for image in camera_images()]
        frames = round(seconds * rate_hz)

        def send() -> None:
            began = time.monotonic()
            for i in range(frames):
                time.sleep(max(0.0, began + i / rate_hz - time.monotonic()))
                image = images[i % len(images)]
                image.header.stamp.sec, image.header.stamp.nanosec = divmod(time.time_ns(), 10**9)
                publisher.publish(image)

        before = cpu_seconds(node.pid)
        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        watcher.spin_until(lambda: not sender.is_alive(), 2 * seconds + 10)
        cpu = cpu_seconds(node.pid) - before
        counts = settle(frames, node, watcher)
    return {
        'seconds': seconds, 'rate_hz': rate_hz, 'sent': frames, 'received': counts.received,
        'lost_on_the_way': frames - counts.received, 'published': counts.published,
        'superseded': counts.superseded, 'dropped': counts.dropped, 'results_back': len(watcher.results),
        'results_hz': round(len(watcher.results) / seconds, 2),
        'age_p50_ms': counts.age_p50_ms, 'age_p99_ms': counts.age_p99_ms,
        'core_percent': round(100 * cpu / seconds, 1),
    }


if __name__ == '__main__':
    argparse.ArgumentParser(prog='python -m benchmarks.node', description=__doc__).parse_args()
    print(json.dumps({'idle': measure_idle(), 'live': measure_live()}))
