# SPDX-License-Identifier: Apache-2.0
"""The debug image: its message with, without and with a broken cv_bridge, and when it is drawn."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from driving import stamp_of
from in_process import bench
from replaying import wait_for
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from shufflenet_ros.core.drawing import annotate
from shufflenet_ros.core.frame import DecodedImage, Prediction
from shufflenet_ros.ros import frame_processor, messages
from shufflenet_ros.ros.messages import bgr8_message, debug_image

LABELS = tuple(Prediction(f'label {i}', i, 1 / (i + 2)) for i in range(8))
HEADER = Header(frame_id='lens')
IMAGE = DecodedImage(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8), 'rgb')


@pytest.fixture(autouse=True)
def forget_converter() -> Iterator[None]:
    messages._converter.cache_clear()
    yield
    messages._converter.cache_clear()


def assert_is(message: Image, pixels: np.ndarray) -> None:
    assert (message.height, message.width, message.encoding) == (*pixels.shape[:2], 'bgr8')
    assert (message.step, message.is_bigendian) == (3 * pixels.shape[1], 0)
    assert bytes(message.data) == pixels.tobytes() and message.header is HEADER


@pytest.mark.parametrize('pixels', [IMAGE.pixels, IMAGE.pixels[:, ::2]])
def test_a_message_is_built_directly(pixels):
    assert_is(bgr8_message(pixels, HEADER), pixels)


@pytest.mark.parametrize(('error', 'used'), [
    (None, True), (AttributeError('_ARRAY_API not found'), False), (RuntimeError('too small'), False)])
def test_cv_bridge_is_used_where_it_works(monkeypatch, error, used):
    """With a stand-in for cv_bridge, which is not on pip in a version that works here."""
    converted = []

    def cv2_to_imgmsg(image: np.ndarray, encoding: str) -> Image:
        assert encoding == 'bgr8'
        if error is not None:
            raise error
        converted.append(image)
        return bgr8_message(image, Header(frame_id="cv_bridge's own"))

    bridge = SimpleNamespace(cv2_to_imgmsg=cv2_to_imgmsg)
    monkeypatch.setitem(sys.modules, 'cv_bridge', SimpleNamespace(CvBridge=lambda: bridge))
    assert_is(debug_image(IMAGE, LABELS, HEADER), annotate(IMAGE, LABELS))
    assert len(converted) == 2 * used, 'once to see whether it works, once for this image'


def test_without_cv_bridge(monkeypatch):
    monkeypatch.setitem(sys.modules, 'cv_bridge', None)
    assert_is(debug_image(IMAGE, LABELS, HEADER), annotate(IMAGE, LABELS))


def test_the_real_cv_bridge_reads_it_back():
    bridge = pytest.importorskip('cv_bridge', reason='needs cv_bridge', exc_type=ImportError).CvBridge()
    assert (bridge.imgmsg_to_cv2(bgr8_message(IMAGE.pixels, HEADER), 'bgr8') == IMAGE.pixels).all()


def test_it_is_drawn_only_for_subscribers(context, model, monkeypatch):
    drawn: list[Any] = []
    monkeypatch.setattr(frame_processor, 'debug_image',
                        lambda *args: drawn.append(args) or debug_image(*args))
    with bench(context, model) as b:
        b.activate()
        assert b.gives_result() and drawn == []
        images = b.hear(Image, f'{b.name}/debug_image')
        wait_for(lambda: b.gives_result() and images, 'an image')
        message = images[0]
        assert len(drawn) >= len(images)
        assert (message.height, message.width, message.encoding) == (32, 32, 'bgr8')
        assert stamp_of(message)[0] in b.heard_stamps
    pixels = np.frombuffer(message.data, np.uint8).reshape(32, 32, 3)
    assert (pixels[-16:] == (0, 0, 255)).all(), 'below the text the image is unchanged'
    assert (pixels[:16] != (0, 0, 255)).any(), 'the labels are drawn on it'
