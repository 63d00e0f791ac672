# SPDX-License-Identifier: Apache-2.0
"""cv_bridge as a second opinion of the decoder. It comes with ROS distributions and isn't on pip."""

from __future__ import annotations

from array import array
from typing import Any

import cv2
import numpy as np
import pytest
from image_vectors import SUPPORTED, as_rgb, encode, smooth_rgb
from sensor_msgs.msg import CompressedImage, Image

from shufflenet_ros.core.compressed import decode_compressed
from shufflenet_ros.core.image import decode_image

MAX_PIXELS = 40_000_000
RGB = smooth_rgb(24, 32)
# cv_bridge reads these as color only under another name.
KNOWN_AS = {'8UC1': 'mono8', '8UC3': 'bgr8', '8UC4': 'bgra8'}
ALWAYS_KNOWN = {'mono8', 'mono16', 'rgb8', 'bgr8', 'rgba8', 'bgra8', 'yuv422', *KNOWN_AS,
                'bayer_rggb8', 'bayer_bggr8', 'bayer_gbrg8', 'bayer_grbg8'}


@pytest.fixture
def cv_bridge() -> Any:
    return pytest.importorskip('cv_bridge', reason='needs cv_bridge', exc_type=ImportError)


# For nv12 and nv21 cv_bridge takes the height of the data for that of the image.
@pytest.mark.parametrize('encoding', [name for name in SUPPORTED if not name.startswith('nv')])
def test_raw_images_are_decoded_as_by_cv_bridge(cv_bridge, encoding):
    sent = encode(RGB, encoding)
    message = Image(height=sent.height, width=sent.width, encoding=KNOWN_AS.get(encoding, encoding),
                    step=sent.step, data=array('B', sent.data.tobytes()))
    try:
        theirs = cv_bridge.CvBridge().imgmsg_to_cv2(message, 'rgb8')
    except cv_bridge.CvBridgeError as error:
        if encoding in ALWAYS_KNOWN:
            raise
        pytest.skip(f'this cv_bridge does not convert {encoding}: {error}')
    message.encoding = encoding
    ours = as_rgb(decode_image(message, MAX_PIXELS)).astype(int)
    # It scales mono16 by 255 / 65535 and rounds; the high byte differs by at most one.
    assert np.abs(ours - theirs).max() <= (1 if encoding == 'mono16' else 0)


@pytest.mark.parametrize(('extension', 'pixels'), [
    ('jpg', RGB), ('jpg', RGB[..., 0]), ('png', RGB), ('png', RGB[..., 0]),
])
def test_compressed_images_are_decoded_as_by_cv_bridge(cv_bridge, extension, pixels):
    data = cv2.imencode(f'.{extension}', pixels)[1].tobytes()
    message = CompressedImage(format=extension, data=array('B', data))
    theirs = cv_bridge.CvBridge().compressed_imgmsg_to_cv2(message, 'rgb8')
    assert np.array_equal(as_rgb(decode_compressed(message, MAX_PIXELS)), theirs)
