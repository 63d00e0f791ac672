# SPDX-License-Identifier: Apache-2.0
"""What the node does with a frame in the engine's worker: classify it and publish the result."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rclpy.impl.rcutils_logger import RcutilsLogger
from std_msgs.msg import Header

from shufflenet_ros.core.classifier import Classifier
from shufflenet_ros.core.frame import Frame, Options, Result
from shufflenet_ros.core.reasons import DropReason, FrameError
from shufflenet_ros.core.stamp import stamp_problem
from shufflenet_ros.core.text import printable
from shufflenet_ros.core.throttle import LogThrottle
from shufflenet_ros.ros.cameras import Camera
from shufflenet_ros.ros.messages import classification, debug_image, embedding


@dataclass(frozen=True)
class Settings:
    """What the operator may change while the node runs."""

    options: Options
    class_id: str
    max_age_s: float


class FrameProcessor:
    """Classifies frames and publishes the results, in the engine's worker thread.

    Attributes:
        settings: replaced by new ones when parameters change.
        open_since: steady seconds; results of frames that arrived earlier are not published. Infinity while
            the node is inactive, so that an inference from before a deactivation publishes nothing after it.
    """

    def __init__(self, classifier: Classifier, sha256: str, cameras: Mapping[str, Camera], settings: Settings,
                 ros_time_ns: Callable[[], int], logger: RcutilsLogger):
        self._classifier, self._sha256, self._cameras = classifier, sha256, cameras
        self._ros_time_ns, self._logger = ros_time_ns, logger
        self._throttle = LogThrottle(time.monotonic)
        self.settings = settings
        self.open_since = math.inf

    def handle(self, frame: Frame) -> None:
        """Process one frame.

        Raises:
            FrameError: the frame is dropped.
        """
        settings, camera, header = self.settings, self._cameras[frame.camera], frame.message.header
        if self._stamp_is_good(camera, header):
            self._drop_stale(header, settings.max_age_s)
        result = self._classifier.classify(frame.message, settings.options)
        if frame.arrived < self.open_since:
            raise FrameError(DropReason.STALE, 'the result came after the node was deactivated')
        started = time.perf_counter()
        self._publish(camera, header, result, settings)
        publish_s = time.perf_counter() - started
        camera.stats.note(result.times, publish_s, time.monotonic() - frame.arrived)
        if result.image.damage:
            camera.damaged += 1
            self._log('damaged', f'{camera.title}: damaged image ({result.image.damage}); its result is '
                                 'published; check the camera, its cable and its link')

    def note_drop(self, frame: Frame, dropped: FrameError) -> None:
        """Log a dropped frame."""
        self._log(dropped.reason, f'{self._cameras[frame.camera].title}: dropped, {dropped}',
                  bug=dropped.reason is DropReason.BACKEND_ERROR)

    def _stamp_is_good(self, camera: Camera, header: Header) -> bool:
        stamp = (header.stamp.sec, header.stamp.nanosec)
        problem = stamp_problem(*stamp)
        if problem is not None:
            camera.bad_stamps += 1
            self._log('bad_stamp', f'{camera.title}: {problem} (the result is published)')
        elif stamp == camera.last_stamp:
            camera.duplicate_stamps += 1
        camera.last_stamp = stamp
        return problem is None

    def _drop_stale(self, header: Header, max_age_s: float) -> None:
        """Compare the stamp with the ROS clock; no state is kept, so clock jumps do no harm."""
        if max_age_s == 0.0:
            return
        stamp_ns = header.stamp.sec * 1_000_000_000 + header.stamp.nanosec
        age = (self._ros_time_ns() - stamp_ns) / 1e9
        if age > max_age_s:
            raise FrameError(
                DropReason.STALE, f'stamp is {age:.3f} s old, expected at most max_age_s {max_age_s:g}: '
                                  "check the camera's clock and the network, or raise max_age_s")

    def _publish(self, camera: Camera, header: Header, result: Result, settings: Settings) -> None:
        camera.classification.publish(classification(header, result.predictions, settings.class_id))
        if result.embedding is not None:
            camera.embedding.publish(embedding(header, result.embedding, self._classifier.card, self._sha256,
                                               settings.options.l2_normalize))
        if camera.debug_image.get_subscription_count() > 0:
            try:
                camera.debug_image.publish(debug_image(result.image, result.predictions, header))
            except Exception as error:  # must not drop the frame: its result is already published
                self._log('debug_image', f'debug image: {type(error).__name__}: {error}', bug=True)

    def _log(self, key: str, text: str, bug: bool = False) -> None:
        """Log the first line for a key at once, then at most one every 5 s."""
        more = self._throttle.admit(key)
        if more is None:
            return
        text = printable(text) + (f' ({more} more since the last line)' if more else '')
        # Two calls, because rclpy ties a severity to the line that logs.
        if bug:
            self._logger.error(text)
        else:
            self._logger.warning(text)
