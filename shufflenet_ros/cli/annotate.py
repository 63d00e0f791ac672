# SPDX-License-Identifier: Apache-2.0
"""`classify --annotate`: a video with the predictions drawn in, or a bag with texts for Foxglove."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from shufflenet_ros.bags.errors import BagError
from shufflenet_ros.cli.annotated_video import AnnotatedVideo, AnnotateError
from shufflenet_ros.core.drawing import letterbox
from shufflenet_ros.core.files import replacing, writing
from shufflenet_ros.core.frame import DecodedImage, Result
from shufflenet_ros.core.opencv import cv2
from shufflenet_ros.core.reasons import FrameError
from shufflenet_ros.datasets.sources import SourceFrame

Add = Callable[[SourceFrame, DecodedImage | None, Result | FrameError], None]
_FILES_TOPIC, _MAX_JPEG_SIDE = '/images', 65500


@contextmanager
def annotating(path: Path, rate_hz: float) -> Iterator[Add]:
    """Yield a function that adds a frame; the whole file is in place when the block ends without an error.

    Args:
        rate_hz: of frames without a time.

    Raises:
        AnnotateError: neither .mp4 nor .mcap, its folder does not exist, or OpenCV cannot write mp4 here.
        WriteError: the file cannot be written.
        ModuleNotFoundError: for .mcap, mcap or rosbags is not installed.
    """
    writer = {'.mp4': _video, '.mcap': _foxglove}.get(path.suffix.lower())
    if writer is None or not path.parent.is_dir():
        raise AnnotateError(f'{path} cannot be written: expected a name that ends in .mp4 (video) or .mcap '
                            '(for Foxglove), in a folder that exists')
    with writer(Path(os.path.realpath(path)), rate_hz) as add:  # the draft lies beside a link's target
        yield add


@contextmanager
def _video(path: Path, rate_hz: float) -> Iterator[Add]:
    with AnnotatedVideo(path, rate_hz) as video:
        def add(frame: SourceFrame, image: DecodedImage | None, result: Result | FrameError) -> None:
            title = f'{frame.topic or frame.source.rsplit("/", 1)[-1]} #{frame.frame}'
            if isinstance(result, FrameError):
                video.add(image, (), f'{title}: dropped, {result.reason}')
            else:
                video.add(image, result.predictions, title)
        yield add


@contextmanager
def _foxglove(path: Path, rate_hz: float) -> Iterator[Add]:
    from shufflenet_ros.bags.foxglove import FoxgloveWriter  # videos do not need it

    with writing(path):
        folder = tempfile.TemporaryDirectory(prefix='.draft-', dir=path.parent)
    with folder:
        draft = Path(folder.name, path.name)
        bag, ticks = FoxgloveWriter(draft), count()

        def add(frame: SourceFrame, image: DecodedImage | None, result: Result | FrameError) -> None:
            record, topic = frame.record, frame.topic or _FILES_TOPIC
            log_ns = record.log_ns if record else round(next(ticks) * 1e9 / rate_hz)
            stamp_ns = log_ns if frame.stamp_ns is None else frame.stamp_ns
            height = image.pixels.shape[0] if image else 480
            with writing(path):
                if record:
                    with suppress(BagError):  # damaged, in a ROS 1 bag
                        bag.image(topic, record.type, record.cdr(), log_ns)
                elif image:
                    height, width = (min(side, _MAX_JPEG_SIDE) for side in image.pixels.shape[:2])
                    jpeg = cv2.imencode('.jpg', letterbox(image, (height, width)))[1].tobytes()
                    bag.jpeg(topic, jpeg, stamp_ns, log_ns)
                bag.texts(topic, _lines(result), stamp_ns, log_ns, height)

        yield add
        with writing(path):
            bag.finish()
        with replacing(path) as target:
            draft.replace(target)


def _lines(result: Result | FrameError) -> list[str]:
    if isinstance(result, FrameError):
        return [f'dropped: {result.reason}']
    return [f'{prediction.name} {prediction.score:.2f}' for prediction in result.predictions]
