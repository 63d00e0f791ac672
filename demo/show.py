"""What a person sees: labels scrolling by, and the video with the node's answers drawn into it."""

from __future__ import annotations

from pathlib import Path

from demo.photos import PAN_SIZE
from demo.plan import RATE_HZ, START_NS, Segment, is_right
from demo.report import TOP, Outcome, Result
from shufflenet_ros.bags.reader import Bag, stamp_ns
from shufflenet_ros.cli.annotated_video import AnnotatedVideo, letterbox
from shufflenet_ros.core.classifier import DEFAULT_MAX_PIXELS
from shufflenet_ros.core.decode import decode
from shufflenet_ros.core.frame import DecodedImage, Prediction


def line(result: Result, segment: Segment, sent_at_ns: int | None) -> str:
    """One result as a line: time in the bag, top 3 (a right one with *), age since the image was sent."""
    labels = '  '.join(f'{name[:20] + ("*" if is_right(name, segment) else ""):<21} {score:4.2f}'
                       for name, score in result.labels[:TOP])
    seconds = (result.stamp_ns - START_NS) / 1e9
    age = '' if sent_at_ns is None else f'{(result.published_ns - sent_at_ns) / 1e6:6.1f} ms'
    return f'{seconds:6.2f} s   {labels:<82}  {age}'


def heading(segment: Segment) -> str:
    """What begins now, and which labels are right there."""
    return segment.name + (f', right: {", ".join(segment.right)}' if segment.right else '')


def write_video(bag_path: Path, outcome: Outcome, path: Path) -> None:
    """The bag's frames with the node's own answers, as MP4; a right label is marked with *.

    Raises:
        AnnotateError: OpenCV cannot write MP4 here.
    """
    answers = outcome.answers()
    with Bag(bag_path) as bag, AnnotatedVideo(path, RATE_HZ) as video:
        for item in bag.messages():
            stamp = stamp_ns(item.message)
            segment = outcome.segment_of(stamp)
            image = DecodedImage(letterbox(decode(item.message, DEFAULT_MAX_PIXELS), PAN_SIZE), 'bgr')
            if stamp in answers:
                video.add(image, marked(answers[stamp], segment), heading(segment))
            else:
                video.add(image, (), f'{heading(segment)}   (no result for this frame)')


def marked(result: Result, segment: Segment) -> list[Prediction]:
    """The top 3 for drawing; a right one gets * behind its name."""
    return [Prediction(name + (' *' if is_right(name, segment) else ''), rank, score)
            for rank, (name, score) in enumerate(result.labels[:TOP])]
