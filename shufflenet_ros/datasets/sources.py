# SPDX-License-Identifier: Apache-2.0
"""Images, folders, videos and bags as one stream of frames to classify.

An image file becomes a CompressedImage and a video frame an Image, so that a file and a camera topic with
the same image get the same result.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shufflenet_ros.bags.errors import BagError
from shufflenet_ros.bags.kinds import IMAGE_TYPES, is_bag
from shufflenet_ros.core.console import say
from shufflenet_ros.core.errors import ShuffleNetError
from shufflenet_ros.core.files import kind_of
from shufflenet_ros.core.opencv import cv2
from shufflenet_ros.core.reasons import DropReason, FrameError
from shufflenet_ros.datasets.image_files import IMAGE_SUFFIXES, FileImage, PixelImage, read_image_file

if TYPE_CHECKING:
    from shufflenet_ros.bags.reader import BagMessage

VIDEO_SUFFIXES = ('.avi', '.flv', '.m2ts', '.m4v', '.mjpeg', '.mjpg', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg',
                  '.ogv', '.ts', '.webm', '.wmv')


class SourceError(ShuffleNetError):
    """A source that does not exist or cannot be opened. The message has its name, the reason and a remedy."""


@dataclass(frozen=True)
class SourceFrame:
    """One image of a source.

    Attributes:
        source: path of the file or bag.
        topic: in a bag, else None.
        frame: number in the source, from 0; in a bag counted over all topics that are read.
        stamp_ns: in a bag the header's stamp, as in the node's results, else None.
        message: what `core.decode` accepts, or the reason why there is none.
        record: in a bag, the message as it was recorded, else None.
    """

    source: str
    topic: str | None
    frame: int
    stamp_ns: int | None
    message: Any | FrameError
    record: 'BagMessage | None' = None


@dataclass(frozen=True)
class Source:
    """A source that could be opened.

    Attributes:
        count: number of frames, None if it is unknown before reading.
        rate_hz: frames per second, None for an image.
    """

    path: Path
    count: int | None
    rate_hz: float | None
    frames: Callable[[], Iterator[SourceFrame]]


def open_sources(paths: Sequence[str | Path], topics: Sequence[str] = ()) -> list[Source]:
    """Open every source once, so that missing or unreadable ones are reported before the first result.

    Args:
        paths: image files, folders of them (recursive, sorted), videos, bags.
        topics: of bags; empty for all image topics.

    Raises:
        SourceError: a path that does not exist or is not a regular file, a folder without images, a video
            that cannot be opened.
        BagError: a bag that cannot be read or lacks the topics.
    """
    return [source for path in paths for source in _open(Path(path), topics)]


def _open(path: Path, topics: Sequence[str]) -> list[Source]:
    if not path.exists():
        raise SourceError(f'source {path} does not exist: expected an image, a folder of images, a video or '
                          'a bag')
    if is_bag(path):
        return [_bag(path, topics)]
    if path.is_dir():
        return [_image(file) for file in _images_in(path)]
    if kind := kind_of(path.stat()):
        raise SourceError(f'source {path}: expected a regular file or a folder, got {kind}; copy its data '
                          'into a file first')
    return [_video(path) if path.suffix.lower() in VIDEO_SUFFIXES else _image(path)]


def _images_in(folder: Path) -> list[Path]:
    """The image files of a folder, sorted; what is not a regular file is reported and left out."""
    files = []
    for path in sorted(path for path in folder.rglob('*') if path.suffix.lower() in IMAGE_SUFFIXES):
        kind = kind_of(path.stat()) if path.exists() else 'a broken link'
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
        data = read_image_file(path)
        message = data if isinstance(data, FrameError) else FileImage(data, path.suffix[1:])
        yield SourceFrame(str(path), None, 0, None, message)
    return Source(path, 1, None, frames)


@contextmanager
def _capture(path: Path) -> Iterator[cv2.VideoCapture]:
    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            raise SourceError(f'video {path} cannot be opened: expected a format that OpenCV reads, such as '
                              'H.264 in mp4; try `ffmpeg -i FILE out.mp4`')
        yield capture
    finally:
        capture.release()


def _video(path: Path) -> Source:
    def frames() -> Iterator[SourceFrame]:
        with _capture(path) as capture:
            number = 0
            while (read := capture.read())[0]:
                yield SourceFrame(str(path), None, number, None, PixelImage.from_pixels(read[1]))
                number += 1

    with _capture(path) as capture:
        count, rate = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), capture.get(cv2.CAP_PROP_FPS)
    return Source(path, count if count > 0 else None, rate if rate > 0 else None, frames)


def _bag(path: Path, topics: Sequence[str]) -> Source:
    from shufflenet_ros.bags.reader import Bag, stamp_ns  # here, as images and videos need no rosbags

    with Bag(path) as bag:
        types = {topic.name: topic.type for topic in bag.topics}
        images = [topic.name for topic in bag.topics if topic.type in IMAGE_TYPES]
        missing = [name for name in topics if name not in images]
        if missing or not images:
            what = f'image topic {missing}' if missing else 'image topic'
            raise BagError(f'bag {path} has no {what}: its topics are {types or "none"}')
        wanted = list(topics or images)
        count = sum(topic.count for topic in bag.topics if topic.name in wanted)
        seconds = (bag.end_ns - bag.start_ns) / 1e9

    def frames() -> Iterator[SourceFrame]:
        with Bag(path) as bag:
            for item in bag.messages(wanted):
                stamp, message = None, None
                try:
                    stamp, message = stamp_ns(item.message), item.message
                except BagError as error:
                    message = FrameError(DropReason.BAD_FORMAT, str(error))
                yield SourceFrame(str(path), item.topic, item.number, stamp, message, item)

    return Source(path, count, count / seconds if seconds > 0 else None, frames)
