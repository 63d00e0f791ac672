# SPDX-License-Identifier: Apache-2.0
"""The lifecycle node: configure loads and verifies the model, activate subscribes."""

import functools
import math
import time
import traceback
from collections.abc import Callable
from typing import Any

from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import Header
from vision_msgs.msg import LabelInfo, VisionInfo

from shufflenet_ros.backends.load import load
from shufflenet_ros.core.classifier import Classifier
from shufflenet_ros.core.engine import BusyError, Engine
from shufflenet_ros.core.frame import Options
from shufflenet_ros.core.opencv import cv2
from shufflenet_ros.core.service_manager import patient_watchdog
from shufflenet_ros.core.text import printable
from shufflenet_ros.core.watch import RateWatch, WatchState
from shufflenet_ros.ros.bond import break_bond, start_bond
from shufflenet_ros.ros.cameras import Camera, warn_about_unused_overrides
from shufflenet_ros.ros.frame_processor import FrameProcessor, Settings
from shufflenet_ros.ros.health import WatchedNode
from shufflenet_ros.ros.messages import label_info, vision_info
from shufflenet_ros.ros.parameters import InvalidParameterError

STOP_TIMEOUT_S = 3.0
MAX_ABANDONED = 3  # inferences that never ended; each keeps a thread and a model
LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE,
                     durability=DurabilityPolicy.TRANSIENT_LOCAL)
SUCCESS, FAILURE, ERROR = (TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE,
                           TransitionCallbackReturn.ERROR)


def _transition(goal: str, on_error: TransitionCallbackReturn, undo: Callable[[Any], object] | None = None
                ) -> Callable[[Callable[[Any], None]], Any]:
    """Make a transition callback: an exception, which rclpy would swallow, is logged and gives on_error.

    Args:
        goal: the state after success.
        undo: called with the node after an exception.
    """
    def decorate(body: Callable[[Any], None]) -> Callable[[Any, LifecycleState], TransitionCallbackReturn]:
        @functools.wraps(body)
        def run(node: 'ClassifyNode', state: LifecycleState) -> TransitionCallbackReturn:
            try:
                try:
                    body(node)
                except Exception:
                    if undo:
                        undo(node)
                    raise
            except Exception as error:
                node.note_failure(body.__name__.removeprefix('on_'), error)
                return on_error
            node.state, node.failure = goal, ''
            return SUCCESS
        return run
    return decorate


class ClassifyNode(WatchedNode):
    """Camera images in, predictions and embeddings out."""

    def __init__(self, name: str = 'shufflenet', **kwargs: Any):
        super().__init__(name, automatically_declare_parameters_from_overrides=True, **kwargs)
        self.start_watching()
        self.declare_node_parameters()
        self.limit_parameter_requests()
        self._processor: FrameProcessor | None = None
        self._cameras: dict[str, Camera] = {}
        self._configured = 0
        self._bond: Any = None
        self._label_info = self.create_publisher(LabelInfo, '~/label_info', LATCHED)
        self._vision_info = self.create_publisher(VisionInfo, '~/vision_info', LATCHED)

    @_transition('inactive', FAILURE, undo=lambda node: node._release())
    def on_configure(self) -> None:
        """Load, verify and warm up the model, then create the result topics."""
        if self.invalid_at_start:
            raise InvalidParameterError('; '.join(self.invalid_at_start.values()))
        if (stuck := self.abandoned()) >= MAX_ABANDONED:
            raise BusyError(f'{stuck} inferences never ended, each keeps a thread and its model: '
                            'restart the process')
        value = self.value_of
        started = time.monotonic()
        cv2.setNumThreads(value('threads'))  # by default OpenCV wakes every core for one small resize
        with patient_watchdog():
            loaded = load(value('model'), card=value('model_card'), sha256=value('model_sha256').lower(),
                          backend=value('backend'), precision=value('precision'), provider=value('provider'),
                          threads=value('threads'), max_accuracy_loss=value('max_accuracy_loss'))
        classifier = Classifier(loaded.card, loaded.backend, value('max_pixels'))
        self._loaded = loaded
        self._make_cameras()
        self._processor = FrameProcessor(classifier, loaded.sha256, self._cameras, self._settings(),
                                         lambda: self.get_clock().now().nanoseconds, self.get_logger())
        self._engine = Engine(list(self._cameras), self._processor.handle, policy=value('frame_policy'),
                              queue_size=value('queue_size'), on_drop=self._processor.note_drop)
        self._engine.max_rate_hz = value('max_rate_hz')
        self._configured += 1
        self._publish_infos()
        self.get_logger().info(
            f'{printable(loaded.terms, 1000)}; ready after {time.monotonic() - started:.2f} s')
        choice = f'runs on {printable(loaded.choice, 1000)}'
        if loaded.fallback:  # a native variant could not be used
            self.get_logger().warning(choice)
        else:
            self.get_logger().info(choice)

    @_transition('active', FAILURE, undo=lambda node: node._stop(STOP_TIMEOUT_S))
    def on_activate(self) -> None:
        """Subscribe, and start to classify."""
        assert self._engine is not None and self._processor is not None
        self._processor.open_since = time.monotonic()
        try:
            self._engine.start()
        except BusyError as error:
            raise BusyError(f'{error}: try again when it has ended, or clean up and configure, which loads '
                            'the model again') from error
        for name, camera in self._cameras.items():
            camera.watch.reset()
            camera.subscribe(self.receive)
            self._last_reported[name] = WatchState.OK
            self.get_logger().info(
                f'{camera.title}: listening on {camera.topic} ({camera.requested_qos})')
        self._activated_at = time.monotonic()
        if self.value_of('bond'):
            self._bond = start_bond(self)

    @_transition('inactive', ERROR)
    def on_deactivate(self) -> None:
        """Unsubscribe; the current frame is finished and published, waiting frames are superseded."""
        self._stop(STOP_TIMEOUT_S)

    @_transition('unconfigured', ERROR)
    def on_cleanup(self) -> None:
        """Release the model and the result topics."""
        self._release()

    @_transition('finalized', ERROR)
    def on_shutdown(self) -> None:
        """Stop and release everything; the process runs until a signal ends it."""
        self._stop(STOP_TIMEOUT_S)
        self._release()

    def on_error(self, _state: LifecycleState) -> TransitionCallbackReturn:
        """Return to unconfigured after a transition that failed half way; the failure stays visible."""
        try:
            self._stop(STOP_TIMEOUT_S)
            self._release()
        except Exception as error:
            self.state = 'finalized'
            self.note_failure('on_error', error)
            return FAILURE
        self.state = 'unconfigured'
        return SUCCESS

    def close(self, timeout: float) -> bool:
        """Stop for the end of the process; True if no inference runs any more, after at most timeout seconds.

        After False the process must end with `exit_now`: Python can't exit cleanly while a thread runs a
        model.
        """
        return self._stop(timeout) and self.abandoned() == 0

    def _make_cameras(self) -> None:
        value = self.value_of
        reliability = ReliabilityPolicy[value('image_qos.reliability').upper()]
        qos = QoSProfile(depth=value('image_qos.depth'), reliability=reliability)
        for name in value('cameras'):
            watch = RateWatch(time.monotonic, value('expected_rate_hz'), value('timeout_s'))
            self._cameras[name] = Camera(self, name, value('image_transport'), qos, watch)
        warn_about_unused_overrides(self, set().union(*(c.endpoints for c in self._cameras.values())))

    def _stop(self, timeout: float) -> bool:
        """End the run. The current frame gets timeout seconds from its start: a stalled one gets no more."""
        if self._bond is not None:
            break_bond(self, self._bond)
            self._bond = None
        for camera in self._cameras.values():
            camera.unsubscribe()
        ended = self._engine is None or self._engine.stop(timeout - self._engine.total().processing_s)
        if self._processor is not None:
            self._processor.open_since = math.inf
        if not ended:
            self.get_logger().warning(
                f'an inference took longer than {timeout:g} s; its result will not be published')
        return ended

    def _release(self) -> None:
        for camera in self._cameras.values():
            camera.destroy()
        if self._engine is not None and not self._engine.stop(0.0):
            self._abandoned.append(self._engine)
        self._cameras = {}  # a new dict: an inference that still runs keeps the old one
        self._published_counts.clear()
        self._loaded = self._engine = self._processor = None

    def receive(self, camera: str, message: Any) -> None:
        """Put an image into its camera's slot, and nothing else."""
        try:
            self._cameras[camera].watch.note()
            if self._engine is not None:
                self._engine.submit(camera, message)
        except Exception as error:
            self.errors.note_image(error)

    def parameters_changed(self) -> None:
        """Apply the new values from the next frame on."""
        if self._engine is None or self._processor is None:
            return
        self._processor.settings = self._settings()
        self._engine.max_rate_hz = self.value_of('max_rate_hz')
        for camera in self._cameras.values():
            camera.watch.set_limits(self.value_of('expected_rate_hz'), self.value_of('timeout_s'))
        self._publish_infos()

    def _settings(self) -> Settings:
        value = self.value_of
        options = Options(value('top_k'), value('min_score'), value('embedding'), value('l2_normalize'))
        return Settings(options, value('class_id'), value('max_age_s'))

    def _publish_infos(self) -> None:
        assert self._loaded is not None
        header, card = Header(stamp=self.get_clock().now().to_msg()), self._loaded.card
        self._label_info.publish(label_info(header, card, self.value_of('min_score')))
        topic = self.resolve_topic_name('~/label_info')
        self._vision_info.publish(vision_info(header, card, topic, self._configured))

    def note_failure(self, transition: str, error: Exception) -> None:
        """Keep and log why a transition failed."""
        self.failure = f'{transition} failed: {str(error) or repr(error)}'
        self.get_logger().error(printable(self.failure, 2000))
        self.get_logger().debug(''.join(traceback.format_exception(error)))
