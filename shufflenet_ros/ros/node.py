"""The lifecycle node: configure loads and proves the model, activate subscribes."""

import functools
import math
import time
import traceback
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import Header
from vision_msgs.msg import LabelInfo, VisionInfo

from shufflenet_ros.backends.open import Loaded, load
from shufflenet_ros.core.classifier import Classifier
from shufflenet_ros.core.engine import Counts, Engine
from shufflenet_ros.core.frame import Options
from shufflenet_ros.core.opencv import cv2
from shufflenet_ros.core.reasons import printable
from shufflenet_ros.core.throttle import LogThrottle
from shufflenet_ros.core.watch import Level, RateWatch, WatchState
from shufflenet_ros.ros.cameras import CameraTopics
from shufflenet_ros.ros.checked import CheckedParameters
from shufflenet_ros.ros.diagnostics import camera_status, count_values, lost_since, model_values, status
from shufflenet_ros.ros.messages import label_info, vision_info
from shufflenet_ros.ros.parameters import Refusal
from shufflenet_ros.ros.qos import warn_of_idle_overrides
from shufflenet_ros.ros.responder import Camera, Responder, Settings

WATCH_PERIOD_S = 0.25
DIAGNOSTICS_PERIOD_S = 1.0
STOP_TIMEOUT_S = 3.0
ERROR_SHOWN_S = 10.0
LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE,
                     durability=DurabilityPolicy.TRANSIENT_LOCAL)
SUCCESS, FAILURE, ERROR = (TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE,
                           TransitionCallbackReturn.ERROR)


def _transition(goal: str, verdict: TransitionCallbackReturn) -> Callable[[Callable[[Any], None]], Any]:
    """A transition callback that logs what rclpy would swallow, and answers with verdict then."""
    def decorate(body: Callable[[Any], None]) -> Callable[[Any, LifecycleState], TransitionCallbackReturn]:
        @functools.wraps(body)
        def run(node: 'ClassifyNode', state: LifecycleState) -> TransitionCallbackReturn:
            try:
                body(node)
            except Exception as error:
                node.note_failure(body.__name__.removeprefix('on_'), error)
                return verdict
            node.state, node.failure = goal, ''
            return SUCCESS
        return run
    return decorate


class ClassifyNode(CheckedParameters, LifecycleNode):
    """Camera images in, labels and embeddings out.

    Attributes:
        state: the lifecycle state's name.
        failure: why the last transition failed; '' after one that worked.
    """

    def __init__(self, name: str = 'shufflenet', **kwargs: Any):
        super().__init__(name, automatically_declare_parameters_from_overrides=True, **kwargs)
        self.state, self.failure = 'unconfigured', ''
        self.declare_table()
        self._loaded: Loaded | None = None
        self._engine: Engine | None = None
        self._responder: Responder | None = None
        self._cameras: dict[str, Camera] = {}
        self._configured = 0
        self._errors, self._last_error, self._last_error_at = 0, '', float('-inf')
        self._throttle = LogThrottle(time.monotonic)
        self._told: dict[str, WatchState] = {}
        self._shown: dict[str, Counts] = {}
        self._shown_at = self._activated_at = float('-inf')
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self._label_info = self.create_publisher(LabelInfo, '~/label_info', LATCHED)
        self._vision_info = self.create_publisher(VisionInfo, '~/vision_info', LATCHED)
        # A ROS-time timer would stand still in simulation before the first /clock.
        self.create_timer(WATCH_PERIOD_S, self.watch, clock=Clock(clock_type=ClockType.STEADY_TIME))

    @_transition('inactive', FAILURE)
    def on_configure(self) -> None:
        """Load, prove and warm up the model, then make the topics for results."""
        try:
            self._configure()
        except Exception:
            self._release()
            raise

    @_transition('active', FAILURE)
    def on_activate(self) -> None:
        """Subscribe and answer."""
        try:
            self._activate()
        except Exception:
            self._stop()
            raise

    @_transition('inactive', ERROR)
    def on_deactivate(self) -> None:
        """Unsubscribe; the frame in work is finished and sent, those that wait are superseded."""
        self._stop()

    @_transition('unconfigured', ERROR)
    def on_cleanup(self) -> None:
        """Let the model and the result topics go."""
        self._release()

    @_transition('finalized', ERROR)
    def on_shutdown(self) -> None:
        """Stop and let everything go; the process stays until a signal ends it."""
        self._stop()
        self._release()

    def on_error(self, _state: LifecycleState) -> TransitionCallbackReturn:
        """After a transition that broke off half way: back to unconfigured, its failure still shown."""
        try:
            self._stop()
            self._release()
        except Exception as error:
            self.state = 'finalized'
            self.note_failure('on_error', error)
            return FAILURE
        self.state = 'unconfigured'
        return SUCCESS

    def close(self, timeout: float) -> bool:
        """End of the process: whether the frame in work was finished within timeout seconds."""
        return self._stop(timeout)

    def _configure(self) -> None:
        if self.refused_at_start:
            raise Refusal('; '.join(self.refused_at_start.values()))
        value = self.value_of
        started = time.monotonic()
        cv2.setNumThreads(value('threads'))  # left alone, OpenCV wakes every core for one small resize
        loaded = load(value('model'), card=value('model_card'), sha256=value('model_sha256').lower(),
                      backend=value('backend'), precision=value('precision'), provider=value('provider'),
                      threads=value('threads'), max_accuracy_loss=value('max_accuracy_loss'))
        classifier = Classifier(loaded.card, loaded.backend, value('max_pixels'))
        self._loaded = loaded
        self._make_cameras()
        self._responder = Responder(classifier, loaded.sha256, self._cameras, self._settings(),
                                    lambda: self.get_clock().now().nanoseconds, self.get_logger())
        self._engine = Engine(list(self._cameras), self._responder.handle, policy=value('frame_policy'),
                              queue_size=value('queue_size'), on_drop=self._responder.note_drop)
        self._engine.max_rate_hz = value('max_rate_hz')
        self._configured += 1
        self._publish_infos()
        self.get_logger().info(
            f'{printable(loaded.terms, 1000)}; ready after {time.monotonic() - started:.2f} s')
        self._log_choice(loaded)

    def _log_choice(self, loaded: Loaded) -> None:
        """What runs and why; a native variant that could not be used is worth a warning."""
        text = f'runs on {printable(loaded.choice, 1000)}'
        if loaded.fallback:
            self.get_logger().warning(text)
        else:
            self.get_logger().info(text)

    def _make_cameras(self) -> None:
        value = self.value_of
        reliability = ReliabilityPolicy[value('image_qos.reliability').upper()]
        qos = QoSProfile(depth=value('image_qos.depth'), reliability=reliability)
        for name in value('cameras'):
            watch = RateWatch(time.monotonic, value('expected_rate_hz'), value('timeout_s'))
            self._cameras[name] = Camera(CameraTopics(self, name, value('image_transport'), qos), watch)
        warn_of_idle_overrides(self, {end for c in self._cameras.values() for end in c.topics.ends})

    def _activate(self) -> None:
        assert self._engine is not None and self._responder is not None
        self._responder.open_since = time.monotonic()
        self._engine.start()
        for name, camera in self._cameras.items():
            camera.watch.reset()
            camera.topics.subscribe(self.receive)
            self._told[name] = WatchState.OK
            self.get_logger().info(
                f'{camera.title}: listening on {camera.topics.topic} ({camera.topics.asked})')
        self._activated_at = time.monotonic()

    def _stop(self, timeout: float = STOP_TIMEOUT_S) -> bool:
        for camera in self._cameras.values():
            camera.topics.unsubscribe()
        ended = self._engine is None or self._engine.stop(timeout)
        if self._responder is not None:
            self._responder.open_since = math.inf
        if not ended:
            self.get_logger().warning(
                f'an inference took longer than {timeout:g} s; its answer will not be sent')
        return ended

    def _release(self) -> None:
        for camera in self._cameras.values():
            camera.topics.destroy()
        self._cameras.clear()
        self._shown.clear()
        self._loaded = self._engine = self._responder = None

    def receive(self, camera: str, message: Any) -> None:
        """An image has come: put it into its camera's slot, nothing else."""
        self._cameras[camera].watch.note()
        if self._engine is not None:
            self._engine.submit(camera, message)

    def parameters_changed(self) -> None:
        """Use the new values from the next frame on."""
        if self._engine is None or self._responder is None:
            return
        self._responder.settings = self._settings()
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
        """A transition failed: say why."""
        self.failure = f'{transition} failed: {error}' if str(error) else f'{transition} failed: {error!r}'
        self.get_logger().error(printable(self.failure, 2000))
        self.get_logger().debug(''.join(traceback.format_exception(error)))

    def note_callback_error(self, error: Exception) -> None:
        """A callback raised, ours or one inside rclpy: count it, log it now and then, show it."""
        self._errors += 1
        self._last_error = printable(f'{type(error).__name__}: {error}')
        self._last_error_at = time.monotonic()
        more = self._throttle.admit(type(error))
        if more is not None:
            where = ''.join(traceback.format_exception(error))
            self.get_logger().error(
                f'a callback failed and the node goes on ({more} more not shown):\n{where}')

    def watch(self) -> None:
        """See how the cameras do; publish diagnostics each second, and at once when a state changes."""
        changed = False
        for name, camera in self._cameras.items() if self.state == 'active' else ():
            changed |= self._watch_camera(name, camera)
        if changed or time.monotonic() - self._shown_at >= DIAGNOSTICS_PERIOD_S - WATCH_PERIOD_S / 2:
            self._shown_at = time.monotonic()
            stamp = self.get_clock().now().to_msg()
            self._diagnostics.publish(DiagnosticArray(header=Header(stamp=stamp), status=self._statuses()))

    def _watch_camera(self, name: str, camera: Camera) -> bool:
        """Log a change of the camera's state; a camera has timeout_s to send its first frame."""
        verdict = camera.watch.check()
        waiting = time.monotonic() - self._activated_at < max(1.0, self.value_of('timeout_s'))
        if verdict.state is self._told[name] or verdict.state is WatchState.NOT_RECEIVED and waiting:
            return False
        self._told[name] = verdict.state
        if verdict.state in (WatchState.NOT_RECEIVED, WatchState.TIMEOUT):
            self.get_logger().warning(f'{camera.title}: {verdict.text}. {camera.topics.why_silent()}')
        elif verdict.state is WatchState.OK:
            self.get_logger().info(f'{camera.title}: {verdict.text}')
        else:
            self.get_logger().warning(f'{camera.title}: {verdict.state}, {verdict.text}',
                                      throttle_duration_sec=5.0)
        return True

    def _statuses(self) -> list[DiagnosticStatus]:
        statuses = [self._own_status()]
        if self.state != 'active' or self._engine is None or self._loaded is None:
            return statuses
        for name, camera in self._cameras.items():
            counts = self._engine.counts(name)
            lost = lost_since(self._shown.get(name), counts)
            self._shown[name] = counts
            statuses.append(camera_status(f'{self.get_fully_qualified_name()}: {camera.title}', camera,
                                          camera.watch.check(), counts, lost, self._loaded.card.name))
        return statuses

    def _own_status(self) -> DiagnosticStatus:
        level, message, model = Level.OK, self.state, self.value_of('model')
        values: dict[str, Any] = {'state': self.state, 'model': model}
        if self._loaded is not None and self._engine is not None:
            values |= model_values(self._loaded) | count_values(self._engine.total())
        values |= {'callback_errors': self._errors, 'last_callback_error': self._last_error}
        if self.failure:
            level, message = Level.ERROR, f'{self.state}: {self.failure}'
        if time.monotonic() - self._last_error_at < ERROR_SHOWN_S:
            level, message = Level.ERROR, f'{message}; a callback failed: {self._last_error}'
        return status(f'{self.get_fully_qualified_name()}: node', model, level, message, values)
