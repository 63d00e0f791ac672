# SPDX-License-Identifier: Apache-2.0
"""The statuses in /diagnostics: one for the node, one for each camera."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from shufflenet_ros.backends.load import LoadedModel
from shufflenet_ros.core.engine import Counts
from shufflenet_ros.core.reasons import DropReason
from shufflenet_ros.core.stats import StageStats
from shufflenet_ros.core.text import printable
from shufflenet_ros.core.watch import Level, WatchState, stall_level
from shufflenet_ros.ros.cameras import Camera


def status(name: str, hardware_id: str, reports: Iterable[tuple[Level, str]],
           values: Mapping[str, Any]) -> DiagnosticStatus:
    """One status with the highest level and all messages of the reports; every value becomes text."""
    levels, messages = zip(*reports)
    return DiagnosticStatus(
        name=name, hardware_id=hardware_id, level=bytes([max(levels)]),
        message=printable('; '.join(filter(None, messages)), 1000),
        values=[KeyValue(key=key, value=printable(str(value), 1000)) for key, value in values.items()])


def model_values(loaded: LoadedModel) -> dict[str, str]:
    """The file that runs, the backend that runs it, and why."""
    return {'model': loaded.card.name, 'sha256': loaded.sha256, 'backend': loaded.backend.name,
            'provider': loaded.backend.provider, 'precision': loaded.precision,
            'backend_reason': loaded.reason, 'timings': loaded.timings}


def count_values(counts: Counts) -> dict[str, Any]:
    """How frames ended; each reason has a key, even at 0."""
    values: dict[str, Any] = {
        'received': counts.received, 'published': counts.published, 'superseded': counts.superseded,
        'in_flight': counts.in_flight, 'processing_s': f'{counts.processing_s:.2f}'}
    return values | {f'dropped.{reason}': n for reason, n in counts.dropped.items()}


def stall_status(counts: Counts, stall_s: float) -> tuple[Level, str]:
    """The level of the current frame's processing time, and a message; '' if OK."""
    level = stall_level(counts.processing_s, stall_s)
    text = f'a frame has been processed for {counts.processing_s:.1f} s (stall_s {stall_s:g} s)'
    return level, text if level > Level.OK else ''


def stage_values(stats: StageStats) -> dict[str, str]:
    """Milliseconds of each stage, over the last published frames; empty before the first."""
    return {f'{stage}_{p}_ms': f'{1e3 * getattr(summary, p):.3f}' if summary.count else ''
            for stage, summary in stats.summaries().items() for p in ('p50', 'p95', 'p99')}


def recent_drops(before: Counts | None, now: Counts) -> dict[str, int]:
    """Frames dropped between two counts, by reason; without throttled ones, which the operator requested."""
    drops = {str(reason): n - (before.dropped[reason] if before else 0) for reason, n in now.dropped.items()
             if reason is not DropReason.THROTTLED}
    return {reason: n for reason, n in drops.items() if n > 0}


def camera_status(name: str, camera: Camera, counts: Counts, drops: Mapping[str, int], model: str,
                  stall_s: float) -> DiagnosticStatus:
    """The state of one camera and of its frames while the node is active."""
    health = camera.watch.check()
    silent = health.state in (WatchState.NOT_RECEIVED, WatchState.TIMEOUT)
    reports = [(health.level, f'{health.state}: {camera.silence_hint() if silent else health.text}'),
               stall_status(counts, stall_s)]
    values: dict[str, Any] = {
        'state': health.state, 'topic': camera.topic, 'requested_qos': camera.requested_qos}
    if camera.incompatible:
        values['incompatible_qos'] = ', '.join(sorted(camera.incompatible))
        reports.append((Level.ERROR,
                        f'incompatible QoS policy on {camera.topic}: {values["incompatible_qos"]}'))
    if drops:
        reports.append((Level.WARN, 'recently dropped: ' + ', '.join(
            f'{n} {reason}' for reason, n in drops.items())))
    rate = '' if math.isnan(health.rate_hz) else f'{health.rate_hz:.2f}'
    values |= {'publishers': len(camera.publishers()), 'rate_hz': rate, 'bad_stamp': camera.bad_stamps,
               'duplicate_stamp': camera.duplicate_stamps, 'damaged': camera.damaged}
    return status(name, model, reports, values | count_values(counts) | stage_values(camera.stats))
