# SPDX-License-Identifier: Apache-2.0
"""An mp4 of frames with their predictions drawn on."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from shufflenet_ros.core.drawing import draw_predictions, letterbox
from shufflenet_ros.core.errors import ShuffleNetError
from shufflenet_ros.core.files import WriteError, replacing, writing
from shufflenet_ros.core.frame import DecodedImage, Prediction
from shufflenet_ros.core.opencv import cv2

HEIGHT = 480


class AnnotateError(ShuffleNetError):
    """The video or bag cannot be written. The message says where and what to do."""


class AnnotatedVideo:
    """An mp4 with frames of one size: 480 pixels high, as wide as the first image needs.

    Use it as a context manager: the whole file is in place when the block ends without an error. OpenCV does
    not report failed writes, so the video is read back before it replaces the target.
    """

    def __init__(self, path: str | Path, rate_hz: float):
        """Prepare the draft.

        Args:
            rate_hz: clipped to [1, 60], which players and the codec's time base support.

        Raises:
            WriteError: the folder does not exist or cannot be written.
        """
        self.path, self.rate_hz = Path(path), round(min(max(rate_hz, 1.0), 60.0), 2)
        self._writer: cv2.VideoWriter | None = None
        self._frames = 0
        with writing(self.path):
            self._folder = tempfile.TemporaryDirectory(prefix='.draft-', dir=self.path.parent)
        self._draft = Path(self._folder.name, self.path.name)

    def add(self, image: DecodedImage | None, predictions: Sequence[Prediction], title: str = '') -> None:
        """Append a frame; it is black without an image.

        Raises:
            AnnotateError: OpenCV cannot write mp4 here.
        """
        writer = self._writer or self._open(image)
        canvas = letterbox(image, self._size) if image else np.zeros((*self._size, 3), np.uint8)
        draw_predictions(canvas, predictions, title)
        writer.write(canvas)
        self._frames += 1

    def _open(self, first: DecodedImage | None) -> cv2.VideoWriter:
        aspect = first.pixels.shape[1] / first.pixels.shape[0] if first else 4 / 3
        # Even, as the codec needs it; narrow enough for a screen.
        self._size = HEIGHT, 2 * round(min(max(HEIGHT * aspect, 240), 1280) / 2)
        fourcc = cv2.VideoWriter.fourcc(*'mp4v')
        self._writer = cv2.VideoWriter(str(self._draft), fourcc, self.rate_hz, self._size[::-1])
        if not self._writer.isOpened():
            raise AnnotateError(f'video {self.path} cannot be written: OpenCV cannot open an mp4 there; '
                                'expected an OpenCV with ffmpeg, and a writable folder with free space')
        return self._writer

    def _finish(self) -> None:
        """Move the video to its path if it has all frames.

        Raises:
            WriteError: frames are missing, or the move failed.
        """
        capture, written = cv2.VideoCapture(str(self._draft)), 0
        while capture.grab():
            written += 1
        capture.release()
        if written < self._frames:
            free = shutil.disk_usage(self._draft.parent).free
            raise WriteError(f'video {self.path} cannot be written: only {written} of {self._frames} frames '
                             f'were written, {free >> 20} MiB are free there (no space left, or a limit of '
                             'file sizes); free some space there, or choose another path')
        with replacing(self.path) as draft:
            self._draft.replace(draft)

    def __enter__(self) -> 'AnnotatedVideo':
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._folder:
            if self._writer is not None:
                self._writer.release()
                if kind is None:
                    self._finish()
