# SPDX-License-Identifier: Apache-2.0
"""Checks of what was seen of the node: is it there and active, do images arrive, what do diagnostics say."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from shufflenet_ros.core.reasons import REMEDIES, DropReason
from shufflenet_ros.core.stamp import stamp_problem
from shufflenet_ros.core.watch import Level
from shufflenet_ros.doctor.finding import Finding, error, ok, warn
from shufflenet_ros.doctor.processes import NodeProcess
from shufflenet_ros.ros.cameras import how_to_read, qos_words
from shufflenet_ros.ros.probe import CameraTopic, Probe

SEGMENT = 500_000  # bytes; Fast DDS's default shared memory is a little larger
PROFILE = ("start the camera's process with the Fast DDS profile config/fastdds_large_images.xml too "
           '(docs/troubleshooting.md#large-images)')
_QOS = 'set image_qos.reliability to best_effort, the default, or give the topic qos_overrides (docs/node.md)'
# Part of a status' message -> remedy.
_STATUS_REMEDIES = {
    'NotReceived': 'images reach this shell, so look at the node: another user, a container, no /dev/shm?',
    'Timeout': 'check the camera: its process, its log, its cable; the node continues with its next frame',
    'Rate:': "check the camera's exposure time, bandwidth and load, or lower expected_rate_hz",
    'incompatible QoS': _QOS,
    'processed for': 'deactivate, cleanup, configure and activate the node, which loads the model again; '
                     'stall_exit_s with respawn:=true does it for you',
    'abandoned inferences': 'restart the process',
    'a callback failed': "the node's log has the traceback; a client may send bad requests",
}


def check_graph(seen: Probe, processes: Sequence[NodeProcess]) -> Iterator[Finding]:
    """Every finding about the node."""
    yield from _node(seen, processes)
    for camera in seen.cameras.values():
        yield from _images(seen, camera)
    if not seen.cameras:
        yield ok('images', f'images are on {", ".join(seen.other_images()) or "no topic"}')
    if seen.name in seen.nodes:
        yield from _clock(seen)
        yield from _diagnostics(seen)


def _node(seen: Probe, processes: Sequence[NodeProcess]) -> Iterator[Finding]:
    name = seen.name or '/shufflenet'
    here = [process for process in processes if not process.elsewhere]
    for process in here:
        if process.orphan:
            yield warn('process', f'process {process.pid} was started by ros2 launch, which has ended',
                       'a launch that ends its nodes, as it does after SIGINT, but not after SIGTERM',
                       f'kill -INT {process.pid}; stop ros2 launch with Ctrl-C')
    number, expected = seen.nodes[name], 'a running node'
    if number > 1:
        pids = ', '.join(str(process.pid) for process in here) or 'on other machines'
        yield warn('node', f'{number} nodes are named {name} (processes: {pids}), and all publish results',
                   'one', 'end the others, or give each its own namespace')
    if not number and seen.nodes:
        yield error('node', f'no node {name}, but {", ".join(sorted(seen.nodes))}', expected,
                    f'shufflenet-ros doctor --node {min(seen.nodes)}')
    elif not number and here:
        yield error('node', f'process {here[0].pid} runs a node, but it cannot be seen', expected,
                    'wait if it has just started; run this as the same user, because others cannot read its '
                    'shared memory; restart it if its log has stopped')
    elif not number and processes:
        yield error('node', f'process {processes[0].pid} runs a node with other settings of ROS', expected,
                    f'in this shell: {processes[0].elsewhere}')
    elif not number:
        yield error('node', f'no node {name}', expected, 'ros2 launch shufflenet_ros classify.launch.py; if '
                    'it runs on another machine, use the same ROS_DOMAIN_ID on both')
    else:
        yield _state(seen)


def _state(seen: Probe) -> Finding:
    name, _, own = seen.name, *seen.reports.get('node', (None, None))
    failed = own is not None and own.level > b'\0'
    if seen.state == 'active':
        return ok('node', f'{name} is active')
    if seen.state not in ('unconfigured', 'inactive'):
        return error('node', f'{name} is {seen.state or "not responding"}', 'active',
                     'if it loads a model, wait a few seconds; otherwise restart it')
    steps = ['configure', 'activate'] if seen.state == 'unconfigured' else ['activate']
    remedy = '; '.join(f'ros2 lifecycle set {name} {step}' for step in steps)
    return error('node', f'{name} is {own.message if own and failed else seen.state}', 'active',
                 f'correct that, then {remedy}' if failed else remedy)


def _images(seen: Probe, camera: CameraTopic) -> Iterator[Finding]:
    topic, kind, publishers, message = camera.topic, camera.type_name, camera.publishers, camera.message
    types = sorted({info.topic_type for info in publishers})
    name, values = next(((part.removeprefix('camera').strip(), _values(last))
                         for part, (_, last) in seen.reports.items()
                         if _values(last).get('topic') == topic), ('', dict[str, str]()))
    others = seen.other_images(topic, kind)
    instead = (f'images are on {", ".join(others)}: {how_to_read(others[0], topic, kind, name)}'
               if others else '')
    read = next((other for other in seen.cameras.values() if other.reader), None)
    if read and not camera.reader and topic in seen.requested:
        yield error('images', f'{seen.name} reads {read.topic}, not {topic}', f'a subscription to {topic}',
                    how_to_read(topic, read.topic, read.type_name, ''))
    if not publishers:
        yield error('images', f'{topic}: no publisher', f'a publisher of {kind}',
                    instead or 'start the camera driver, with the same ROS_DOMAIN_ID')
    elif kind not in types:
        yield error('images', f'{topic}: it has {", ".join(types)}', kind,
                    instead or 'set image_transport to what the camera publishes: raw or compressed')
    elif camera.mismatch:
        yield error('images', f'{topic}: it offers {qos_words(publishers)}; {camera.mismatch}',
                    f'a match with {qos_words([camera.reader] if camera.reader else [])}', _QOS)
    elif not camera.subscribed:
        yield ok('images', f'{topic}: {len(publishers)} publisher(s); its images were not looked at')
    elif _starves(camera, values.get('state', '')):
        number = f'{len(camera.arrivals)} image(s)' if message else 'no image'
        yield error('images', f'{topic}: {number} arrived here from {len(publishers)} publisher(s)', 'images',
                    f'check the camera: its log, its cable. If its images are large, {PROFILE}')
    else:
        yield _arrivals(seen, camera, values.get('rate_hz', ''))


def _starves(camera: CameraTopic, state: str) -> bool:
    """Whether too few images arrive to be a slow camera; a single large one is a sign of lost ones."""
    if len(camera.arrivals) < 2:
        return state != 'OK' or not camera.message or len(camera.message.data) > SEGMENT
    return state == 'Timeout' and time.time_ns() - camera.arrived_ns > 10**9


def _arrivals(seen: Probe, camera: CameraTopic, rate_hz: str) -> Finding:
    stamp, kinds = camera.message.header.stamp, Counter(kind for _, kind in camera.arrivals)
    now = max(seen.times, default=0) if seen.use_sim_time else camera.arrived_ns
    age = f'stamp {now / 1e9 - stamp.sec - stamp.nanosec / 1e9:.2f} s old'
    found = (f'{camera.topic}: {", ".join(list(kinds)[:3])} at {camera.rate_hz:.1f} Hz, '
             f'{stamp_problem(stamp.sec, stamp.nanosec) or age}')
    arrived, lost = len(camera.arrivals), camera.lost
    if lost:
        return Finding('images', Level.ERROR if lost > arrived else Level.WARN,
                       f'{found}; {lost} of {lost + arrived} were lost on the way', 'none lost', PROFILE)
    if rate_hz.replace('.', '', 1).isdigit() and float(rate_hz) < camera.rate_hz / 2:
        return error('images', f'{found}, but the node gets {rate_hz} Hz', 'the same', PROFILE)
    return ok('images', found)


def _clock(seen: Probe) -> Iterator[Finding]:
    if seen.use_sim_time and len(seen.times) < 2:
        found = 'stands still' if seen.node.count_publishers('/clock') else 'has no publisher'
        yield warn('clock', f'use_sim_time is true, but /clock {found}', 'a clock that runs',
                   'start the simulator or replay the bag with --clock, or launch with use_sim_time:=false')


def _diagnostics(seen: Probe) -> Iterator[Finding]:
    if not seen.reports:
        yield warn('diagnostics', f'none from {seen.name}', 'a message every second',
                   'if it loads a model, wait a few seconds; otherwise restart it')
    for part, (first, last) in seen.reports.items():
        if part == 'node' and seen.state != 'active':
            continue  # already reported
        if 'NotReceived' in last.message and not any(camera.message for camera in seen.cameras.values()):
            continue  # the cause is in what was found about the images
        remedies = [remedy for text, remedy in _STATUS_REMEDIES.items() if text in last.message]
        if last.level > b'\0' and remedies:
            yield Finding(part, Level(min(last.level[0], Level.ERROR)), last.message, 'level OK',
                          '; '.join(remedies))
        if part != 'node':
            yield from _counters(part, _values(first), _values(last))


def _counters(part: str, before: dict[str, str], now: dict[str, str]) -> Iterator[Finding]:
    new = {key: int(value) - int(before[key]) for key, value in now.items()
           if key in before and value.isdigit() and before[key].isdigit()}
    for reason in DropReason:
        key, results = f'dropped.{reason}', new.get('published')
        # Old ones are no news while there are results.
        if now.get(key, '0') != '0' and reason is not DropReason.THROTTLED and (new.get(key) or not results):
            cause, remedy = REMEDIES[reason]
            yield Finding('dropped', Level.WARN if results else Level.ERROR,
                          f'{part}: {now[key]} frames as {reason}: {cause}', 'none', remedy)
    if new.get('damaged'):
        yield warn('damaged', f'{part}: {now["damaged"]} damaged JPEGs', 'none',
                   'check the camera and its link; these images are still classified')
    if new.get('published'):
        age = now.get('age_p50_ms', '?')
        yield ok('results',
                 f'{part}: {new["published"]} new results, {age} ms after their images arrived (p50)')


def _values(status: Any) -> dict[str, str]:
    return {value.key: value.value for value in status.values}
