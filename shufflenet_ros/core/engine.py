# SPDX-License-Identifier: Apache-2.0
"""Passes camera frames to one worker: newest first, cameras in turn. Every frame is counted."""

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
from shufflenet_ros.core.worker import ThreadWorker, Worker

Policy = Literal['latest', 'every']
LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Counts:
    """How the frames of one camera, or of all, have ended so far.

    At every moment received = published + superseded + in_flight + the sum of dropped.

    Attributes:
        published: handled without an exception.
        superseded: replaced by a newer frame, or received while the engine was stopped.
        in_flight: waiting or being handled.
        dropped: frames by reason; every reason has a key.
        waiting: those in flight that the worker has not taken yet.
        processing_s: seconds since the worker took the current frame; 0 without one.
    """

    received: int
    published: int
    superseded: int
    in_flight: int
    dropped: Mapping[DropReason, int]
    waiting: int
    processing_s: float


class BusyError(ShuffleNetError):
    """A frame of an earlier run is still being handled, and a handler can't be interrupted."""


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
    """Passes camera frames to one worker, newest first, and accounts for every one of them.

    With service time S and a camera's frame period T, the policy `latest` keeps the age of a result at S + T
    however large S is. A queue of depth n would add n service times.
    """

    def __init__(self, cameras: Sequence[str], handle: Callable[[Frame], None], *, policy: Policy = 'latest',
                 queue_size: int = 100, on_drop: Callable[[Frame, FrameError], None] | None = None,
                 clock: Callable[[], float] = time.monotonic, worker: Worker | None = None) -> None:
        """Create a stopped engine.

        Args:
            cameras: names, in the order of their turns.
            handle: processes one frame, in the worker. The frame is published when it returns and dropped
                when it raises: FrameError has the reason, MemoryError is `no_memory`, any other Exception
                is `backend_error`.
            policy: `latest` keeps one waiting frame a camera, `every` keeps queue_size of them.
            queue_size: of `every`; in a full queue a camera's oldest frame is superseded.
            on_drop: called in the worker for each frame that handle dropped, after it was counted. The
                FrameError has the exception as its __cause__. Throttled frames are only counted.
            clock: steady seconds.
            worker: calls `step`; by default a ThreadWorker.

        Raises:
            ValueError: no camera, a name twice, an unknown policy, queue_size < 1.
        """
        if not cameras or len(set(cameras)) != len(cameras):
            raise ValueError(f'cameras: got {list(cameras)}, expected at least one name and each once')
        if policy not in ('latest', 'every'):
            raise ValueError(f'policy: got {policy!r}, expected latest or every')
        if queue_size < 1:
            raise ValueError(f'queue_size: got {queue_size}, expected at least 1')
        self._cameras = {name: _Camera() for name in cameras}
        self._turns = deque(cameras)
        self._capacity = 1 if policy == 'latest' else queue_size
        self._handle, self._on_drop, self._clock = handle, on_drop, clock
        self._worker = ThreadWorker() if worker is None else worker
        self._changed = threading.Condition()  # guards everything below and the cameras
        self._run: object | None = None  # identifies the current run; None while stopped
        self._max_rate_hz = 0.0
        self._logs = LogThrottle(clock)

    def start(self) -> None:
        """Start the worker; does nothing if it runs. Earlier frames are not kept.

        Raises:
            BusyError: a frame of the last run is still being handled. A second thread would use the same
                backend, which serves one thread.
        """
        with self._changed:
            if self._run is not None:
                return
            left = self._count(self._cameras.values())
            if left.in_flight:
                raise BusyError(
                    f'a frame has been processed for {left.processing_s:.1f} s and cannot be interrupted')
            run = object()
            self._worker.start(self.step, partial(self._wait, run))
            self._run = run

    def stop(self, timeout: float) -> bool:
        """End the run: waiting frames are superseded, the one being handled is finished and counted.

        Returns False if that takes longer than timeout seconds, or if handle itself calls it. The engine is
        stopped then too, and can be started again once that frame is done.
        """
        with self._changed:
            self._run = None
            for camera in self._cameras.values():
                camera.superseded += len(camera.waiting)
                camera.waiting.clear()
            self._changed.notify_all()
        return self._worker.stop(timeout)

    def submit(self, camera: str, message: Any) -> None:
        """Accept a message from a subscription's callback, without blocking, no matter what the message is.

        While the engine is stopped, a frame is superseded at once.

        Raises:
            KeyError: an unknown camera, which is a bug of the caller.
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
        except FrameError as dropped:
            self._finish(frame, dropped.reason)
            self._report_drop(frame, dropped.reason, dropped)
        except MemoryError as error:
            self._finish(frame, DropReason.NO_MEMORY)
            self._report_drop(frame, DropReason.NO_MEMORY, error)
        except Exception as error:
            self._finish(frame, DropReason.BACKEND_ERROR)
            self._report_drop(frame, DropReason.BACKEND_ERROR, error)
        except BaseException:
            self._finish(frame, DropReason.BACKEND_ERROR)
            raise
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
        """The limit of frames a second and camera; frames above it are `throttled`; 0 is no limit."""
        return self._max_rate_hz

    @max_rate_hz.setter
    def max_rate_hz(self, rate: float) -> None:
        if not 0.0 <= rate < math.inf:
            raise ValueError(f'max_rate_hz: got {rate}, expected frames a second, or 0 for no limit')
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
        """Allow one frame in each 1/rate seconds of a fixed grid, so that camera jitter costs no frames."""
        if self._max_rate_hz == 0.0:
            return False
        if now < camera.due:
            return True
        period = 1.0 / self._max_rate_hz
        camera.due = (camera.due if now - camera.due < period else now) + period
        return False

    def _wait(self, run: object) -> bool:
        """Sleep until a frame waits; False once this run is over."""
        with self._changed:
            while self._run is run:
                if any(camera.waiting for camera in self._cameras.values()):
                    return True
                self._changed.wait()
        return False

    def _take(self) -> Frame | None:
        now = self._clock()
        with self._changed:
            for _ in range(len(self._turns)):
                name = self._turns[0]
                self._turns.rotate(-1)
                camera = self._cameras[name]
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
            if isinstance(error, FrameError):
                dropped = error
            else:
                dropped = FrameError(reason, ''.join(traceback.format_exception_only(error)).strip())
                dropped.__cause__ = error
            self._on_drop(frame, dropped)
        except Exception:
            if (suppressed := self._logs.admit('on_drop')) is not None:
                LOG.exception('engine: on_drop failed (%d more not shown)', suppressed)
