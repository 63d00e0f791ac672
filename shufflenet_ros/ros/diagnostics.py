# SPDX-License-Identifier: Apache-2.0
"""The statuses in /diagnostics: one for the node, one for each camera."""

import math
from collections.abc import Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from shufflenet_ros.backends.load import LoadedModel
from shufflenet_ros.core.engine import Counts
from shufflenet_ros.core.reasons import DropReason
from shufflenet_ros.core.stats import StageStats
from shufflenet_ros.core.text import printable
from shufflenet_ros.core.watch import Level, WatchState, stall_level
from shufflenet_ros.ros.frame_processor import Camera

_LEVEL_BYTES = {Level.OK: DiagnosticStatus.OK, Level.WARN: DiagnosticStatus.WARN,
                Level.ERROR: DiagnosticStatus.ERROR}
EXPECTED_DROPS = frozenset({DropReason.THROTTLED})  # the operator requested these


def status(name: str, hardware_id: str, level: Level, message: str,
           values: Mapping[str, Any]) -> DiagnosticStatus:
    """One status; every value becomes text."""
    pairs = [KeyValue(key=key, value=printable(str(value), 1000)) for key, value in values.items()]
    return DiagnosticStatus(name=name, hardware_id=hardware_id, level=_LEVEL_BYTES[level],
                            message=printable(message, 1000), values=pairs)


def model_values(loaded: LoadedModel) -> dict[str, str]:
    """The file that runs, what runs it, and why."""
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
    if level is Level.OK:
        return level, ''
    return level, f'a frame has been processed for {counts.processing_s:.1f} s (stall_s {stall_s:g} s)'


def stage_values(stats: StageStats) -> dict[str, str]:
    """Milliseconds of each stage, over the last published frames; empty before the first."""
    return {f'{stage}_{p}_ms': f'{1e3 * getattr(summary, p):.3f}' if summary.count else ''
            for stage, summary in stats.summaries().items() for p in ('p50', 'p95', 'p99')}


def recent_drops(before: Counts | None, now: Counts) -> dict[str, int]:
    """Frames dropped between two counts, by reason, without EXPECTED_DROPS."""
    drops = {str(reason): n - (before.dropped[reason] if before else 0) for reason, n in now.dropped.items()
            if reason not in EXPECTED_DROPS}
    return {reason: n for reason, n in drops.items() if n > 0}


def camera_status(name: str, camera: Camera, counts: Counts, drops: Mapping[str, int], model: str,
                  stall_s: float) -> DiagnosticStatus:
    """The state of one camera and of its frames while the node is active."""
    health, topics = camera.watch.check(), camera.topics
    level, message = health.level, f'{health.state}: {health.text}'
    values: dict[str, Any] = {
        'state': health.state, 'topic': topics.topic, 'requested_qos': topics.requested_qos}
    if health.state in (WatchState.NOT_RECEIVED, WatchState.TIMEOUT):
        message = f'{health.state}: {topics.silence_hint()}'
    stalled, text = stall_status(counts, stall_s)
    level, message = max(level, stalled), f'{message}; {text}' if text else message
    if topics.incompatible:
        level = max(level, Level.ERROR)
        message += f'; incompatible QoS policy on {topics.topic}: {", ".join(sorted(topics.incompatible))}'
        values['incompatible_qos'] = ', '.join(sorted(topics.incompatible))
    if drops:
        level = max(level, Level.WARN)
        message += '; recently dropped: ' + ', '.join(f'{n} {reason}' for reason, n in drops.items())
    rate = '' if math.isnan(health.rate_hz) else f'{health.rate_hz:.2f}'
    values |= {'publishers': len(topics.publishers()), 'rate_hz': rate, 'bad_stamp': camera.bad_stamps,
               'duplicate_stamp': camera.duplicate_stamps, 'damaged': camera.damaged}
    return status(name, model, level, message, values | count_values(counts) | stage_values(camera.stats))
