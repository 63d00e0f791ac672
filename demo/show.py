# SPDX-License-Identifier: Apache-2.0
"""The demo's output for people: predictions as lines of text, and the video with predictions drawn on it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from demo.photos import PAN_SIZE
from demo.segments import RATE_HZ, START_NS, Segment, segment_at
from demo.summary import TOP, DemoRun
from scripts.rig.watcher import ReceivedResult
from shufflenet_ros.bags.reader import Bag, stamp_ns
from shufflenet_ros.cli.annotated_video import AnnotatedVideo
from shufflenet_ros.core.classifier import DEFAULT_MAX_PIXELS
from shufflenet_ros.core.decode import decode
from shufflenet_ros.core.drawing import letterbox
from shufflenet_ros.core.frame import DecodedImage, Prediction


class ResultPrinter:
    """Prints every n-th result, and a heading where the next segment begins."""

    def __init__(self, segments: tuple[Segment, ...], every: int, sent_at_ns: Mapping[int, int]):
        self._segments, self._every, self._sent_at_ns = segments, every, sent_at_ns
        self._count = 0
        self._current: Segment | None = None

    def __call__(self, result: ReceivedResult) -> None:
        """Print this result if it is an n-th one."""
        segment = segment_at(self._segments, result.stamp_ns)
        if segment is not self._current:
            self._current = segment
            print(f'-- {segment.title}', flush=True)
        if self._count % self._every == 0:
            print(line(result, segment, self._sent_at_ns.get(result.stamp_ns)), flush=True)
        self._count += 1


def line(result: ReceivedResult, segment: Segment, sent_at_ns: int | None) -> str:
    """Return a result as a line: time in the bag, top 3 (* marks a right label), age from outside."""
    predictions = '  '.join(f'{label[:20] + ("*" if segment.is_right(label) else ""):<21} {score:4.2f}'
                            for label, score in result.predictions[:TOP])
    seconds = (result.stamp_ns - START_NS) / 1e9
    age = '' if sent_at_ns is None else f'{(result.published_ns - sent_at_ns) / 1e6:6.1f} ms'
    return f'{seconds:6.2f} s   {predictions:<82}  {age}'


def write_video(bag_path: Path, run: DemoRun, path: Path) -> None:
    """Write the bag's frames with the node's own results as MP4; * marks a right label.

    Raises:
        AnnotateError: OpenCV cannot write MP4 here.
    """
    with Bag(bag_path) as bag, AnnotatedVideo(path, RATE_HZ) as video:
        for item in bag.messages():
            stamp = stamp_ns(item.message)
            segment = segment_at(run.segments, stamp)
            image = DecodedImage(letterbox(decode(item.message, DEFAULT_MAX_PIXELS), PAN_SIZE), 'bgr')
            if result := run.result_by_stamp.get(stamp):
                video.add(image, marked(result, segment), segment.title)
            else:
                video.add(image, (), f'{segment.title}   (no result for this frame)')


def marked(result: ReceivedResult, segment: Segment) -> list[Prediction]:
    """Return the top 3 for drawing; a right one gets * after its label."""
    return [Prediction(label + (' *' if segment.is_right(label) else ''), rank, score)
            for rank, (label, score) in enumerate(result.predictions[:TOP])]
