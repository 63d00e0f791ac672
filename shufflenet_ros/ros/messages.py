# SPDX-License-Identifier: Apache-2.0
"""Results to ROS messages. Every result has its image's own header, unchanged."""

from array import array
from collections.abc import Iterable

from shufflenet_ros_msgs.msg import Embedding
from std_msgs.msg import Header
from vision_msgs.msg import Classification, LabelInfo, ObjectHypothesis, VisionClass, VisionInfo

from shufflenet_ros.core.card import Card
from shufflenet_ros.core.frame import F32, Prediction

MAX_CLASS_IDS = 1 << 16  # LabelInfo counts classes in a uint16


def classification(header: Header, predictions: Iterable[Prediction], class_id: str) -> Classification:
    """Predictions in the given order; class_id is `name` or `index`: what the message's class_id carries."""
    results = [ObjectHypothesis(class_id=str(getattr(prediction, class_id)), score=prediction.score)
               for prediction in predictions]
    return Classification(header=header, results=results)


def embedding(header: Header, data: F32, card: Card, sha256: str, normalized: bool) -> Embedding:
    """(D,) float32 features, with what is needed to compare them later."""
    values = array('f')
    values.frombytes(data.tobytes())
    layer = str(card.embedding.get('layer', ''))
    return Embedding(header=header, model=card.name, model_sha256=sha256, layer=layer,
                     l2_normalized=normalized, data=values)


def label_info(header: Header, card: Card, threshold: float) -> LabelInfo:
    """Index and name of each class, at most 65536."""
    classes = [VisionClass(class_id=i, class_name=name) for i, name in enumerate(card.labels[:MAX_CLASS_IDS])]
    return LabelInfo(header=header, class_map=classes, threshold=threshold)


def vision_info(header: Header, card: Card, label_topic: str, version: int) -> VisionInfo:
    """The network's name, and the topic of its labels."""
    return VisionInfo(header=header, method=card.network, database_location=label_topic,
                      database_version=version)
