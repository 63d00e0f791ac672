"""Answers to ROS messages. Every result carries its image's own header, untouched."""

from array import array
from collections.abc import Iterable

from shufflenet_ros_msgs.msg import Embedding
from std_msgs.msg import Header
from vision_msgs.msg import Classification, LabelInfo, ObjectHypothesis, VisionClass, VisionInfo

from shufflenet_ros.core.card import Card
from shufflenet_ros.core.frame import F32, Prediction

MAX_CLASS_IDS = 1 << 16  # LabelInfo counts classes in a uint16


def classification(header: Header, labels: Iterable[Prediction], class_id: str) -> Classification:
    """Labels by falling score; class_id is the label's name, or its index as text where class_id is index."""
    by_index = class_id == 'index'
    results = [ObjectHypothesis(class_id=str(label.index) if by_index else label.name, score=label.score)
               for label in labels]
    return Classification(header=header, results=results)


def embedding(header: Header, data: F32, card: Card, sha256: str, normalized: bool) -> Embedding:
    """(D,) float32 features with what is needed to compare them later."""
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
    """Which network answers, and the topic that its labels are on."""
    return VisionInfo(header=header, method=card.network, database_location=label_topic,
                      database_version=version)
