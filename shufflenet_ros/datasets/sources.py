"""Images, folders, videos and bags as one stream of frames.

An image file goes the very way of a CompressedImage and a video frame that of an Image, so that a file
and a camera topic with the same image get the same answer.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shufflenet_ros.bags.errors import BagError
from shufflenet_ros.bags.kinds import IMAGE_TYPES, is_bag
from shufflenet_ros.core.console import say
from shufflenet_ros.core.errors import ShuffleNetError
from shufflenet_ros.core.files import kind_of, open_regular
from shufflenet_ros.core.opencv import cv2
from shufflenet_ros.core.reasons import FrameError, Reason
from shufflenet_ros.datasets.image_files import (
    IMAGE_SUFFIXES,
    MAX_FILE_BYTES,
    FileImage,
    PixelImage,
    too_large,
)

if TYPE_CHECKING:
    from shufflenet_ros.bags.reader import BagMessage

VIDEO_SUFFIXES = ('.avi', '.flv', '.m2ts', '.m4v', '.mjpeg', '.mjpg', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg',
                  '.ogv', '.ts', '.webm', '.wmv')


class SourceError(ShuffleNetError):
    """A source that does not exist or cannot be opened; the message says which, why and what to do."""


@dataclass(frozen=True)
class SourceFrame:
    """One image of a source.

    Attributes:
        source: path of the file or bag.
        topic: of a bag, else None.
        frame: its place in the source, from 0; in a bag over all topics that are read.
        stamp_ns: the header's stamp in a bag, else None: the same time that the node's results carry.
        message: what `core.decode` takes, or why there is none.
    """

    source: str
    topic: str | None
    frame: int
    stamp_ns: int | None
    message: Any | FrameError


@dataclass(frozen=True)
class Source:
    """Something that was opened once and can be read.

    Attributes:
        count: its frames where that is known beforehand.
        rate_hz: frames a second where there is such a thing.
    """

    path: Path
    count: int | None
    rate_hz: float | None
    frames: Callable[[], Iterator[SourceFrame]]


def open_sources(paths: Sequence[str | Path], topics: Sequence[str] = ()) -> list[Source]:
    """Open everything once, so that what is missing or unreadable shows before the first answer.

    Args:
        paths: image files, folders of them (recursive, sorted), videos, bags.
        topics: of bags; without any, all topics of images.

    Raises:
        SourceError: a path that is missing or no regular file, a folder without images, a video that cannot
            be opened.
        BagError: a bag that cannot be read or lacks the topics.
    """
    return [source for path in paths for source in _open(Path(path), topics)]


def _open(path: Path, topics: Sequence[str]) -> list[Source]:
    if not path.exists():
        raise SourceError(f'source {path} does not exist: give an image, a folder of them, a video or a bag')
    if is_bag(path):
        return [_bag(path, topics)]
    if path.is_dir():
        return [_image(file) for file in _images_in(path)]
    if kind := kind_of(path.stat()):
        raise SourceError(f'source {path}: expected a regular file or a folder, got {kind}; copy what comes '
                          'out of it into a file, and give that')
    return [_video(path) if path.suffix.lower() in VIDEO_SUFFIXES else _image(path)]


def _images_in(folder: Path) -> list[Path]:
    """The image files of a folder, sorted; what is only named like one is said on stderr and left out."""
    files = []
    for path in sorted(path for path in folder.rglob('*') if path.suffix.lower() in IMAGE_SUFFIXES):
        kind = kind_of(path.stat()) if path.exists() else 'a link to nowhere'
        if not kind:
            files.append(path)
        elif not path.is_dir():
            say(f'{path} is left out: expected a regular file, got {kind}', to=sys.stderr)
    if not files:
        raise SourceError(f'folder {folder} has no image files: expected some of '
                          f'{", ".join(IMAGE_SUFFIXES)}; a bag folder has metadata.yaml')
    return files


def _image(path: Path) -> Source:
    def frames() -> Iterator[SourceFrame]:
        with open_regular(path) as file:
            data = file.read(MAX_FILE_BYTES + 1)
            size = os.fstat(file.fileno()).st_size
        message = too_large(size) if len(data) > MAX_FILE_BYTES else FileImage(data, path.suffix[1:])
        yield SourceFrame(str(path), None, 0, None, message)
    return Source(path, 1, None, frames)


def _capture(path: Path) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise SourceError(f'video {path} cannot be opened: expected a format that OpenCV reads, such as '
                          'H.264 in mp4; try `ffmpeg -i FILE out.mp4`')
    return capture


def _video(path: Path) -> Source:
    def frames() -> Iterator[SourceFrame]:
        capture = _capture(path)
        try:
            number = 0
            while True:
                more, pixels = capture.read()
                if not more:
                    return
                height, width = pixels.shape[:2]
                image = PixelImage(np.asarray(pixels, np.uint8).reshape(-1), height, width, 3 * width)
                yield SourceFrame(str(path), None, number, None, image)
                number += 1
        finally:
            capture.release()

    capture = _capture(path)
    count, rate = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    return Source(path, count if count > 0 else None, rate if rate > 0 else None, frames)


def _bag(path: Path, topics: Sequence[str]) -> Source:
    from shufflenet_ros.bags.reader import Bag  # here, as images and videos need no rosbags

    with Bag(path) as bag:
        types = {topic.name: topic.type for topic in bag.topics}
        images = [topic.name for topic in bag.topics if topic.type in IMAGE_TYPES]
        others = [name for name in topics if name not in images]
        if others or not images:
            asked = f'image topic {others}' if others else 'image topic'
            raise BagError(f'bag {path} has no {asked}: its topics are {types or "none"}')
        wanted = list(topics or images)
        count = sum(topic.count for topic in bag.topics if topic.name in wanted)
        seconds = (bag.end_ns - bag.start_ns) / 1e9
    return Source(path, count, count / seconds if seconds > 0 else None, lambda: _bag_frames(path, wanted))


def _bag_frames(path: Path, topics: list[str]) -> Iterator[SourceFrame]:
    from shufflenet_ros.bags.reader import Bag

    with Bag(path) as bag:
        for item in bag.messages(topics):
            yield _bag_frame(str(path), item)


def _bag_frame(source: str, item: 'BagMessage') -> SourceFrame:
    from shufflenet_ros.bags.reader import stamp_ns

    try:
        return SourceFrame(source, item.topic, item.number, stamp_ns(item.message), item.message)
    except BagError as error:
        return SourceFrame(source, item.topic, item.number, None, FrameError(Reason.BAD_FORMAT, str(error)))
