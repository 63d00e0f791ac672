# SPDX-License-Identifier: Apache-2.0
"""Results to ROS messages. Every result has its image's own header, unchanged."""

from array import array
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

import numpy as np
from rclpy.logging import get_logger
from sensor_msgs.msg import Image
from shufflenet_ros_msgs.msg import Embedding
from std_msgs.msg import Header
from vision_msgs.msg import Classification, LabelInfo, ObjectHypothesis, VisionClass, VisionInfo

from shufflenet_ros.core.card import Card
from shufflenet_ros.core.drawing import annotate
from shufflenet_ros.core.frame import F32, U8, DecodedImage, Prediction

MAX_CLASS_IDS = 1 << 16  # LabelInfo counts classes in a uint16


def classification(header: Header, predictions: Iterable[Prediction], class_id: str) -> Classification:
    """Predictions in the given order; class_id is `name` or `index`, the content of the field class_id."""
    results = [ObjectHypothesis(class_id=str(getattr(prediction, class_id)), score=prediction.score)
               for prediction in predictions]
    return Classification(header=header, results=results)


def embedding(header: Header, data: F32, card: Card, sha256: str, normalized: bool) -> Embedding:
    """(D,) float32 features, with what is needed to compare them later."""
    return Embedding(header=header, model=card.name, model_sha256=sha256, l2_normalized=normalized,
                     layer=str(card.embedding.get('layer', '')), data=array('f', data.tobytes()))


def label_info(header: Header, card: Card, threshold: float) -> LabelInfo:
    """Index and name of each class, at most 65536."""
    classes = [VisionClass(class_id=i, class_name=name) for i, name in enumerate(card.labels[:MAX_CLASS_IDS])]
    return LabelInfo(header=header, class_map=classes, threshold=threshold)


def vision_info(header: Header, card: Card, label_topic: str, version: int) -> VisionInfo:
    """The network's name, and the topic of its labels."""
    return VisionInfo(header=header, method=card.network, database_location=label_topic,
                      database_version=version)


def debug_image(image: DecodedImage, predictions: Sequence[Prediction], header: Header) -> Image:
    """The image with the predictions drawn on it."""
    return _converter()(annotate(image, predictions), header)


def bgr8_message(image: U8, header: Header) -> Image:
    """(H, W, 3) uint8 BGR as bgr8. rclpy checks an ndarray element by element, but not an array.array."""
    data = array('B')
    data.frombytes(np.ascontiguousarray(image))  # type: ignore[arg-type]  # any contiguous buffer; one copy
    height, width = image.shape[:2]
    return Image(header=header, height=height, width=width, encoding='bgr8', step=width * 3, data=data)


@lru_cache(maxsize=1)
def _converter() -> Callable[[U8, Header], Image]:
    """Use cv_bridge if it is installed and works with this NumPy and OpenCV, else `bgr8_message`."""
    try:
        from cv_bridge import CvBridge
        bridge = CvBridge()
        bridge.cv2_to_imgmsg(np.zeros((2, 2, 3), np.uint8), 'bgr8')
    except ImportError:
        return bgr8_message
    except Exception as error:  # a cv_bridge built for another NumPy fails in its own ways
        get_logger('debug_image').warning(f'cv_bridge does not work here ({error}); not used')
        return bgr8_message

    def convert(image: U8, header: Header) -> Image:
        message: Image = bridge.cv2_to_imgmsg(image, 'bgr8')
        message.header = header
        return message

    return convert
