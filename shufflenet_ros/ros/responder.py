"""The worker's part of the node: a frame in, messages out."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from rclpy.impl.rcutils_logger import RcutilsLogger
from std_msgs.msg import Header

from shufflenet_ros.core.classifier import Classifier
from shufflenet_ros.core.frame import Frame, Options, Result
from shufflenet_ros.core.reasons import DropReason, FrameError
from shufflenet_ros.core.stamp import stamp_problem
from shufflenet_ros.core.stats import StageStats
from shufflenet_ros.core.text import printable
from shufflenet_ros.core.throttle import LogThrottle
from shufflenet_ros.core.watch import RateWatch
from shufflenet_ros.ros.cameras import CameraTopics
from shufflenet_ros.ros.debug_image import debug_image
from shufflenet_ros.ros.messages import classification, embedding


@dataclass(frozen=True)
class Settings:
    """What an operator may change while the node runs."""

    options: Options
    class_id: str
    max_age_s: float


@dataclass
class Camera:
    """One camera at run time: its topics, how its frames arrive, how long they take, what was odd."""

    topics: CameraTopics
    watch: RateWatch
    stats: StageStats = field(default_factory=StageStats)
    bad_stamps: int = 0
    duplicate_stamps: int = 0
    damaged: int = 0
    last_stamp: tuple[int, int] | None = None

    @property
    def title(self) -> str:
        """For logs and diagnostics."""
        return f'camera {self.topics.name}' if self.topics.name else 'camera'


class Responder:
    """Answers frames in the engine's worker thread.

    Attributes:
        settings: replaced as a whole when parameters change.
        open_since: steady seconds; only frames that came later are answered. Infinity while the node
            is inactive, so that an inference from before a deactivation never speaks after it.
    """

    def __init__(self, classifier: Classifier, sha256: str, cameras: Mapping[str, Camera], settings: Settings,
                 ros_time_ns: Callable[[], int], logger: RcutilsLogger):
        self._classifier, self._sha256, self._cameras = classifier, sha256, cameras
        self._ros_time_ns, self._logger = ros_time_ns, logger
        self._throttle = LogThrottle(time.monotonic)
        self.settings = settings
        self.open_since = math.inf

    def handle(self, frame: Frame) -> None:
        """Result one frame.

        Raises:
            FrameError: the frame gets no answer.
        """
        settings, camera, header = self.settings, self._cameras[frame.camera], frame.message.header
        if self._stamp_is_good(camera, header):
            self._refuse_stale(header, settings.max_age_s)
        answer = self._classifier.classify(frame.message, settings.options)
        if frame.arrived < self.open_since:
            raise FrameError(DropReason.STALE, 'the answer came after the node had been deactivated')
        started = time.perf_counter()
        self._publish(camera.topics, header, answer, settings)
        publish_time = time.perf_counter() - started
        camera.stats.note(answer.times, publish_time, time.monotonic() - frame.arrived)
        if answer.image.damage:
            self._note_damage(camera, answer.image.damage)

    def note_drop(self, frame: Frame, dropped: FrameError) -> None:
        """Log a frame that got no answer: the first at once, then at most one line a reason and 5 s."""
        more = self._throttle.admit(dropped.reason)
        if more is not None:
            title = self._cameras[frame.camera].title
            self._log(f'{title}: dropped, {dropped}', more, bug=dropped.reason is DropReason.BACKEND_ERROR)

    def _note_damage(self, camera: Camera, damage: str) -> None:
        camera.damaged += 1
        more = self._throttle.admit('damaged')
        if more is not None:
            self._log(f'{camera.title}: damaged image ({damage}); the result is sent all the same: '
                      'check the camera, its cable and its link', more)

    def _stamp_is_good(self, camera: Camera, header: Header) -> bool:
        stamp = (header.stamp.sec, header.stamp.nanosec)
        problem = stamp_problem(*stamp)
        if problem is not None:
            camera.bad_stamps += 1
            more = self._throttle.admit('bad_stamp')
            if more is not None:
                self._log(f'{camera.title}: {problem} (the result is sent all the same)', more)
        elif stamp == camera.last_stamp:
            camera.duplicate_stamps += 1
        camera.last_stamp = stamp
        return problem is None

    def _refuse_stale(self, header: Header, max_age_s: float) -> None:
        """By the ROS clock, now; a clock that jumps leaves nothing behind that could go wrong later."""
        if max_age_s == 0.0:
            return
        stamp_ns = header.stamp.sec * 1_000_000_000 + header.stamp.nanosec
        age = (self._ros_time_ns() - stamp_ns) / 1e9
        if age > max_age_s:
            raise FrameError(
                DropReason.STALE, f'stamp is {age:.3f} s old, expected at most max_age_s {max_age_s:g}: '
                              "check the camera's clock and the network, or raise max_age_s")

    def _publish(self, topics: CameraTopics, header: Header, answer: Result, settings: Settings) -> None:
        topics.classification.publish(classification(header, answer.predictions, settings.class_id))
        if answer.embedding is not None:
            normalized = settings.options.l2_normalize
            topics.embedding.publish(
                embedding(header, answer.embedding, self._classifier.card, self._sha256, normalized))
        if topics.debug_image.get_subscription_count() > 0:
            self._show(topics, header, answer)

    def _show(self, topics: CameraTopics, header: Header, answer: Result) -> None:
        """The answer is out already: an image that can't be drawn must not count against its frame."""
        try:
            topics.debug_image.publish(debug_image(answer.image, answer.predictions, header))
        except Exception as error:
            more = self._throttle.admit('debug_image')
            if more is not None:
                self._log(f'debug image: {type(error).__name__}: {error}', more, bug=True)

    def _log(self, text: str, more: int, bug: bool = False) -> None:
        text = printable(text) + (f' ({more} more since the last line)' if more else '')
        # Two calls, because rclpy ties a severity to the line that logs.
        if bug:
            self._logger.error(text)
        else:
            self._logger.warning(text)
