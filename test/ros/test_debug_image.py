# SPDX-License-Identifier: Apache-2.0
"""The debug image: what is drawn, when, and its message with, without and with a broken cv_bridge."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2')
pytest.importorskip('onnx', reason='needs the extra export')

from in_process import bench
from rclpy.context import Context
from replaying import wait_for
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from shufflenet_ros.core.drawing import annotate
from shufflenet_ros.core.frame import DecodedImage, Prediction
from shufflenet_ros.ros import debug_image as module
from shufflenet_ros.ros import frame_processor
from shufflenet_ros.ros.debug_image import build_message, debug_image

LABELS = tuple(Prediction(f'label {i}', i, 1 / (i + 2)) for i in range(8))
HEADER = Header(frame_id='lens')


@pytest.fixture(autouse=True)
def forget_converter() -> Iterator[None]:
    module._converter.cache_clear()
    yield
    module._converter.cache_clear()


def image(height: int, width: int, color: Any = 'rgb') -> DecodedImage:
    rng = np.random.default_rng(0)
    return DecodedImage(rng.integers(0, 256, (height, width, 3), np.uint8), color)


def assert_is(message: Image, pixels: np.ndarray) -> None:
    assert (message.height, message.width, message.encoding) == (*pixels.shape[:2], 'bgr8')
    assert (message.step, message.is_bigendian) == (3 * pixels.shape[1], 0)
    assert bytes(message.data) == pixels.tobytes() and message.header is HEADER


def test_a_message_is_built_directly() -> None:
    pixels = image(5, 7).pixels
    assert_is(build_message(pixels, HEADER), pixels)
    assert_is(build_message(pixels[:, ::2], HEADER), np.ascontiguousarray(pixels[:, ::2]))


class StandIn:
    """Stands in for cv_bridge.CvBridge, which is not on pip in a version that works here."""

    error: Exception | None = None

    def __init__(self) -> None:
        self.calls = 0

    def cv2_to_imgmsg(self, image: np.ndarray, encoding: str) -> Image:
        assert encoding == 'bgr8'
        if self.error is not None:
            raise self.error
        self.calls += 1
        message = build_message(image, Header(frame_id="cv_bridge's own"))
        message.is_bigendian = 0
        return message


def install(monkeypatch: pytest.MonkeyPatch, bridge: StandIn) -> None:
    stand_in = ModuleType('cv_bridge')
    stand_in.CvBridge = lambda: bridge  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, 'cv_bridge', stand_in)


def test_cv_bridge_is_used_where_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    bridge = StandIn()
    install(monkeypatch, bridge)
    shown = image(20, 30)
    assert_is(debug_image(shown, LABELS, HEADER), annotate(shown, LABELS))
    assert bridge.calls == 2, 'once to see whether it works, once for this image'


@pytest.mark.parametrize('error', [AttributeError('_ARRAY_API not found'), RuntimeError('too small')])
def test_a_broken_cv_bridge_is_passed_by(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    bridge = StandIn()
    bridge.error = error
    install(monkeypatch, bridge)
    shown = image(20, 30)
    assert_is(debug_image(shown, LABELS, HEADER), annotate(shown, LABELS))


def test_without_cv_bridge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'cv_bridge', None)
    shown = image(20, 30)
    assert_is(debug_image(shown, LABELS, HEADER), annotate(shown, LABELS))


def test_the_real_cv_bridge_reads_it_back() -> None:
    bridge = pytest.importorskip('cv_bridge', reason='needs cv_bridge', exc_type=ImportError).CvBridge()
    pixels = image(20, 30).pixels
    assert (bridge.imgmsg_to_cv2(build_message(pixels, HEADER), 'bgr8') == pixels).all()


def test_it_is_drawn_only_while_somebody_subscribes(context: Context, model: Path,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(frame_processor, 'debug_image',
                        lambda *args: drawn.append(args) or debug_image(*args))
    with bench(context, model, 'spied') as b:
        b.bring_to('active')
        b.wait_for_subscription()
        assert b.answered() and drawn == []
        images: list[Image] = []
        b.operator.create_subscription(Image, 'spied/debug_image', images.append, 10)
        wait_for(lambda: b.answered() and images, 'an image')
    message = images[0]
    assert len(drawn) >= len(images)
    assert (message.height, message.width, message.encoding) == (32, 32, 'bgr8')
    assert message.header.stamp.sec in {result.header.stamp.sec for result in b.heard}
    pixels = np.frombuffer(message.data, np.uint8).reshape(32, 32, 3)
    assert (pixels[-16:] == (0, 0, 255)).all(), 'below the text the image is unchanged'
    assert (pixels[:16] != (0, 0, 255)).any(), 'the labels are drawn on it'
