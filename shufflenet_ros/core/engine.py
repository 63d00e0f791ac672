# SPDX-License-Identifier: Apache-2.0
"""Passes camera frames to one worker thread: newest first, cameras in turn. Every frame is counted."""

import logging
import math
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any, Literal

from shufflenet_ros.core.errors import ShuffleNetError
from shufflenet_ros.core.frame import Frame
from shufflenet_ros.core.reasons import DropReason, FrameError
from shufflenet_ros.core.throttle import LogThrottle
from shufflenet_ros.core.worker import ThreadWorker

Policy = Literal['latest', 'every']
LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Counts:
    """What has happened to the frames of one camera, or of all.

    At any moment received = published + superseded + in_flight + the sum of dropped.

    Attributes:
        published: handled without an exception.
        superseded: replaced by a newer frame, or received while the engine was stopped.
        in_flight: waiting or being handled.
        dropped: frames by reason; every reason has a key.
        waiting: frames in flight that the worker has not taken yet.
        processing_s: seconds since the worker took the current frame; 0 if there is none.
    """

    received: int
    published: int
    superseded: int
    in_flight: int
    dropped: Mapping[DropReason, int]
    waiting: int
    processing_s: float


class BusyError(ShuffleNetError):
    """A frame of the last run is still being handled, and a handler can't be interrupted."""


@dataclass
class _Camera:
    """One camera's waiting frames and counters, used only under the engine's lock."""

    waiting: deque[Frame] = field(default_factory=deque)
    handling: Frame | None = None
    received: int = 0
    published: int = 0
    superseded: int = 0
    dropped: dict[DropReason, int] = field(default_factory=lambda: dict.fromkeys(DropReason, 0))
    due: float = -math.inf  # when max_rate_hz allows the next frame


class Engine:
    """Passes camera frames to one worker and counts what happens to each.

    With service time S and frame period T, the policy `latest` keeps the age of a result at S + T, however
    large S is. A queue of depth n would add n service times.
    """

    def __init__(self, cameras: Sequence[str], handle: Callable[[Frame], None], *, policy: Policy = 'latest',
                 queue_size: int = 100, on_drop: Callable[[Frame, FrameError], None] | None = None,
                 clock: Callable[[], float] = time.monotonic, worker: ThreadWorker | None = None) -> None:
        """Create a stopped engine.

        Args:
            cameras: at least one name, each once, in the order of their turns.
            handle: processes one frame, in the worker. The frame is published when it returns and dropped
                when it raises: FrameError has the reason, MemoryError is `no_memory`, any other Exception
                is `backend_error`.
            policy: `latest` keeps one waiting frame per camera, `every` keeps queue_size of them.
            queue_size: for `every`, at least 1; in a full queue the oldest frame is superseded.
            on_drop: called in the worker for each frame that handle dropped, after it was counted. The
                FrameError has the exception as its __cause__. Throttled frames are only counted.
            clock: steady seconds.
            worker: the thread. Tests replace it and call `step` themselves.
        """
        self._cameras = {name: _Camera() for name in cameras}
        self._turns = deque(self._cameras.values())
        self._capacity = 1 if policy == 'latest' else queue_size
        self._handle, self._on_drop, self._clock = handle, on_drop, clock
        self._worker = worker or ThreadWorker()
        self._changed = threading.Condition()  # guards everything below and the cameras
        self._run: object | None = None  # identifies the current run; None while stopped
        self._max_rate_hz = 0.0
        self._logs = LogThrottle(clock)

    def start(self) -> None:
        """Start the worker, unless it runs already.

        Raises:
            BusyError: a frame of the last run is still being handled, and the backend serves one thread only.
        """
        with self._changed:
            if self._run is not None:
                return
            left = self._count(self._cameras.values())
            if left.in_flight:
                raise BusyError(
                    f'a frame has been processed for {left.processing_s:.1f} s and cannot be interrupted')
            run = object()
            self._worker.start(partial(self._wait_and_step, run))
            self._run = run

    def stop(self, timeout: float) -> bool:
        """End the run: waiting frames are superseded; the one being handled is finished and counted.

        Returns False if that takes longer than timeout seconds, or if handle itself calls this. The engine is
        stopped all the same, and can be started again when that frame is done.
        """
        with self._changed:
            self._run = None
            for camera in self._cameras.values():
                camera.superseded += len(camera.waiting)
                camera.waiting.clear()
            self._changed.notify_all()
        return self._worker.stop(timeout)

    def submit(self, camera: str, message: Any) -> None:
        """Accept any message from a subscription's callback, without blocking.

        Raises:
            KeyError: unknown camera, which is a bug in the caller.
        """
        slot = self._cameras[camera]
        frame = Frame(camera, message, self._clock())
        with self._changed:
            slot.received += 1
            if self._run is None:
                slot.superseded += 1
            elif self._exceeds_rate(slot, frame.arrived):
                slot.dropped[DropReason.THROTTLED] += 1
            else:
                if len(slot.waiting) == self._capacity:
                    slot.waiting.popleft()
                    slot.superseded += 1
                slot.waiting.append(frame)
                self._changed.notify()

    def step(self) -> bool:
        """Handle one frame of the camera whose turn it is; False when none waits. Called by the worker."""
        frame = self._take()
        if frame is None:
            return False
        try:
            self._handle(frame)
        except BaseException as error:
            reason = _drop_reason(error)
            self._finish(frame, reason)
            if not isinstance(error, Exception):  # it asks to end the process
                raise
            self._report_drop(frame, reason, error)
        else:
            self._finish(frame, None)
        return True

    def counts(self, camera: str) -> Counts:
        """One camera's counts, consistent at one moment."""
        with self._changed:
            return self._count([self._cameras[camera]])

    def total(self) -> Counts:
        """The sum over all cameras, consistent at one moment."""
        with self._changed:
            return self._count(self._cameras.values())

    @property
    def max_rate_hz(self) -> float:
        """Maximum frames per second and camera, finite; excess frames are `throttled`; 0 is no limit."""
        return self._max_rate_hz

    @max_rate_hz.setter
    def max_rate_hz(self, rate: float) -> None:
        with self._changed:
            self._max_rate_hz = rate
            for camera in self._cameras.values():
                camera.due = -math.inf

    def _count(self, cameras: Collection[_Camera]) -> Counts:
        now = self._clock()
        handling = [camera.handling for camera in cameras if camera.handling is not None]
        waiting = sum(len(c.waiting) for c in cameras)
        dropped = {reason: sum(c.dropped[reason] for c in cameras) for reason in DropReason}
        return Counts(
            received=sum(c.received for c in cameras), published=sum(c.published for c in cameras),
            superseded=sum(c.superseded for c in cameras), in_flight=waiting + len(handling),
            dropped=MappingProxyType(dropped), waiting=waiting,
            processing_s=max((now - frame.taken for frame in handling), default=0.0))

    def _exceeds_rate(self, camera: _Camera, now: float) -> bool:
        """Allow one frame per 1/rate seconds on a fixed grid, so that camera jitter costs no frames."""
        if self._max_rate_hz == 0.0:
            return False
        if now < camera.due:
            return True
        period = 1.0 / self._max_rate_hz
        camera.due = (camera.due if now - camera.due < period else now) + period
        return False

    def _wait_and_step(self, run: object) -> bool:
        """Sleep until a frame waits, and handle it; False once this run is over."""
        with self._changed:
            while self._run is run and not any(camera.waiting for camera in self._cameras.values()):
                self._changed.wait()
            if self._run is not run:
                return False
        self.step()
        return True

    def _take(self) -> Frame | None:
        now = self._clock()
        with self._changed:
            for _ in range(len(self._turns)):
                camera = self._turns[0]
                self._turns.rotate(-1)
                if camera.waiting:
                    frame = camera.waiting.popleft()
                    camera.handling = frame
                    frame.taken = now
                    return frame
        return None

    def _finish(self, frame: Frame, reason: DropReason | None) -> None:
        camera = self._cameras[frame.camera]
        with self._changed:
            camera.handling = None
            if reason is None:
                camera.published += 1
            else:
                camera.dropped[reason] += 1

    def _report_drop(self, frame: Frame, reason: DropReason, error: Exception) -> None:
        """Call on_drop; if it fails, log that and go on."""
        if self._on_drop is None:
            return
        try:
            if not isinstance(error, FrameError):
                cause = error
                error = FrameError(reason, ''.join(traceback.format_exception_only(cause)).strip())
                error.__cause__ = cause
            self._on_drop(frame, error)
        except Exception:
            if (suppressed := self._logs.admit('on_drop')) is not None:
                LOG.exception('engine: on_drop failed (%d more not shown)', suppressed)


def _drop_reason(error: BaseException) -> DropReason:
    if isinstance(error, FrameError):
        return error.reason
    return DropReason.NO_MEMORY if isinstance(error, MemoryError) else DropReason.BACKEND_ERROR
