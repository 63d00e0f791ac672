"""The real node in its own process: idle, and live at 30 Hz with its default settings.

`python -m benchmarks.node` prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
from array import array
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from demo.photos import PAN_SIZE, load_photos, pan
from demo.processes import Child, dds_environment, node_command
from demo.run import settle, wait_until_active
from demo.watch import Watcher

TOPIC = '/camera/image_raw'
BEST_EFFORT = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)  # as camera drivers send


@contextmanager
def active_node(model: str = '') -> Iterator[tuple[Child, Watcher]]:
    """The node, active, with its default parameters, and somebody who listens to it."""
    os.environ.update(dds_environment())
    parameters = {'autostart': 'true'} | ({'model': model} if model else {})
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / 'node.log'
        with Child(node_command(parameters, TOPIC), log) as node, Watcher() as watcher:
            wait_until_active(node, watcher)
            yield node, watcher


def cpu_seconds(pid: int) -> float:
    """User and system time that a process has taken so far."""
    fields = Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def measure_idle(seconds: float = 20.0, model: str = '') -> Mapping[str, Any]:
    """Share of one core that the active node takes without a camera."""
    with active_node(model) as (node, _):
        time.sleep(2.0)
        before, began = cpu_seconds(node.pid), time.monotonic()
        time.sleep(seconds)
        share = (cpu_seconds(node.pid) - before) / (time.monotonic() - began)
    return {'seconds': seconds, 'core_percent': round(100 * share, 2)}


def measure_live(seconds: float = 20.0, rate_hz: float = 30.0, model: str = '') -> Mapping[str, Any]:
    """Policy latest on best-effort 640x480 images: rate of results, what was lost on the way, ages."""
    with active_node(model) as (node, watcher):
        publisher = watcher.node.create_publisher(Image, TOPIC, BEST_EFFORT)
        watcher.spin_until(lambda: publisher.get_subscription_count() > 0, 10.0)
        images, frames = _images(), round(seconds * rate_hz)

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


def _images() -> list[Image]:
    height, width = PAN_SIZE
    images = []
    for image in pan(load_photos()[0].read(), 20):
        data = array('B')
        data.frombytes(image.tobytes())
        images.append(Image(height=height, width=width, encoding='bgr8', step=3 * width, data=data))
    return images


if __name__ == '__main__':
    argparse.ArgumentParser(prog='python -m benchmarks.node', description=__doc__).parse_args()
    print(json.dumps({'idle': measure_idle(), 'live': measure_live()}))
