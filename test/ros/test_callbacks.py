# SPDX-License-Identifier: Apache-2.0
"""D5: exceptions in callbacks, transitions and rclpy itself are counted and shown; the node keeps running."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle, product
from typing import Any

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from in_process import Bench, bench
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from replaying import FULL, wait_for

from shufflenet_ros.core.classifier import Classifier
from shufflenet_ros.core.engine import Engine
from shufflenet_ros.core.opencv import cv2
from shufflenet_ros.core.reasons import DropReason
from shufflenet_ros.core.watch import RateWatch
from shufflenet_ros.ros import node as node_module
from shufflenet_ros.ros.callback_errors import spin_guarded
from shufflenet_ros.ros.frame_processor import FrameProcessor
from shufflenet_ros.ros.node import ClassifyNode
from shufflenet_ros.ros.parameter_node import ValidatedParameters

ERRORS = (ValueError, MemoryError, RuntimeError)
STORM = 300 if FULL else 100


@dataclass
class Fault:
    """An exception in a function: raised on the next `times` calls."""

    error: type[BaseException] = ValueError
    times: int = 0
    raised: int = 0

    def plant(self, patch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        original = getattr(owner, name)

        @functools.wraps(original)
        def faulty(*args: Any, **kwargs: Any) -> Any:
            if self.times > 0:
                self.times -= 1
                self.raised += 1
                raise self.error('planted')
            return original(*args, **kwargs)
        patch.setattr(owner, name, faulty)

    def arm(self, error: type[BaseException], times: int = 1) -> None:
        self.error, self.times, self.raised = error, times, 0


def _set_top_k(b: Bench) -> None:
    value = ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=4)
    b.send(SetParameters, 'set_parameters',
           SetParameters.Request(parameters=[ParameterMessage(name='top_k', value=value)]))


# Where the fault is, and what makes the node run into it: in the executor's thread, and in the worker's.
IN_SPIN: dict[str, tuple[type, str, Callable[[Bench], Any]]] = {
    'image callback': (ClassifyNode, 'receive', Bench.show),
    'arrival watch': (RateWatch, 'note', Bench.show),
    'timer': (ClassifyNode, 'watch', lambda b: None),
    'camera state': (ClassifyNode, '_watch_camera', lambda b: None),
    'parameter service': (ValidatedParameters, 'set_parameters_atomically', _set_top_k),
    'parameter change': (ClassifyNode, 'parameters_changed', _set_top_k),
    'latched topics': (ClassifyNode, '_publish_infos', _set_top_k),
}
IN_WORKER: dict[str, tuple[type, str]] = {
    'processor': (FrameProcessor, 'handle'),
    'classifier': (Classifier, 'classify'),
    'publish': (FrameProcessor, '_publish'),
}
# Function in a transition -> transition, state before, state after the failure.
IN_TRANSITION: dict[str, tuple[Any, str, str, str]] = {
    'load': (node_module, 'configure', 'unconfigured', 'unconfigured'),
    '_make_cameras': (ClassifyNode, 'configure', 'unconfigured', 'unconfigured'),
    'start': (Engine, 'activate', 'inactive', 'inactive'),
    '_stop': (ClassifyNode, 'deactivate', 'active', 'unconfigured'),
    '_release': (ClassifyNode, 'cleanup', 'inactive', 'unconfigured'),
}


def with_errors(points: Any, everything: str) -> list[tuple[str, type[Exception]]]:
    """Each point with one kind of error in turn, and one point with all; with FULL, each with all."""
    if FULL:
        return list(product(points, ERRORS))
    return sorted({*zip(points, cycle(ERRORS)), *((everything, error) for error in ERRORS)}, key=str)


@pytest.fixture(scope='module')
def faults() -> Iterator[dict[str, Fault]]:
    """A fault at each point, in the classes themselves, because callbacks are bound early."""
    points = {name: place[:2] for name, place in IN_SPIN.items()} | IN_WORKER
    points |= {name: (place[0], name) for name, place in IN_TRANSITION.items()}
    points['note_drop'] = (FrameProcessor, 'note_drop')
    planted = {name: Fault() for name in points}
    with pytest.MonkeyPatch.context() as patch:
        for name, (owner, method) in points.items():
            planted[name].plant(patch, owner, method)
        yield planted


@pytest.fixture(scope='module')
def shared(faults, context, model) -> Iterator[Bench]:
    with bench(context, model) as made:
        yield made


@pytest.fixture
def active(shared) -> Bench:
    """The node, active and without an armed fault."""
    shared.activate()
    return shared


@pytest.mark.parametrize(('point', 'error'), with_errors(IN_SPIN, 'image callback'))
def test_d5_a_callback_that_raises_is_counted_and_the_next_frame_gets_a_result(active, faults, point, error):
    errors = active.node.errors
    total, images = errors.total, errors.images
    faults[point].arm(error)
    IN_SPIN[point][2](active)
    wait_for(lambda: faults[point].raised and errors.total > total, f'the fault in {point}', 10.0)
    assert errors.total == total + 1
    assert errors.images == images + (point == 'arrival watch'), 'those of the image callback'
    assert active.alive and active.state() == 'active'
    assert active.gives_result()
    status = active.node._own_status()
    assert status.level == DiagnosticStatus.ERROR and f'{error.__name__}: planted' in status.message


@pytest.mark.parametrize(('point', 'error'), with_errors(IN_WORKER, 'processor'))
def test_d5_a_worker_that_raises_drops_that_frame_and_the_next_gets_a_result(active, faults, point, error):
    reason = DropReason.NO_MEMORY if error is MemoryError else DropReason.BACKEND_ERROR
    engine = active.node._engine
    assert engine is not None
    before, errors = engine.total(), active.node.errors.total
    faults[point].arm(error)
    stamp = active.show()
    wait_for(lambda: engine.total().dropped[reason] > before.dropped[reason], f'the drop in {point}', 10.0)
    assert active.alive and active.state() == 'active'
    assert active.gives_result()
    assert stamp not in active.heard_stamps
    now = engine.total()
    assert now.dropped[reason] == before.dropped[reason] + 1 and now.published > before.published
    assert active.node.errors.total == errors


def test_d5_an_error_while_a_drop_is_logged_does_no_harm(active, faults):
    faults['processor'].arm(ValueError)
    faults['note_drop'].arm(RuntimeError)
    active.show()
    wait_for(lambda: faults['note_drop'].raised, 'the drop', 10.0)
    assert active.state() == 'active' and active.gives_result()


@pytest.mark.parametrize(('point', 'error'), with_errors(IN_TRANSITION, '_release'))
def test_d5_a_transition_that_raises_fails_and_is_reported(shared, faults, point, error):
    _, label, before, after = IN_TRANSITION[point]
    shared.bring_to(before)
    faults[point].arm(error)
    assert not shared.change(label=label)
    assert faults[point].raised == 1
    assert shared.state() == shared.node.state == after
    status = shared.node._own_status()
    assert status.level == DiagnosticStatus.ERROR and f'{label} failed: planted' in status.message
    shared.activate()
    assert shared.node.failure == ''


def test_d5_a_node_that_cannot_even_clean_up_is_finalized(faults, context, model):
    with bench(context, model, name='untidy') as b:
        b.bring_to('active')
        faults['_stop'].arm(RuntimeError, times=2)
        assert not b.change(label='deactivate')
        assert b.state() == b.node.state == 'finalized'
        assert 'on_error failed: planted' in b.node._own_status().message
        assert b.alive


def test_d5_services_respond_during_a_storm_of_exceptions(active, faults):
    before = active.node.errors.total
    faults['image callback'].arm(RuntimeError, times=STORM)

    def storm_is_over() -> bool:
        active.show()
        assert active.state() == 'active'
        return faults['image callback'].times == 0
    wait_for(storm_is_over, f'{STORM} exceptions', 30.0)
    assert active.alive and active.gives_result()
    assert active.node.errors.total == before + STORM


def test_d5_a_storm_from_the_network_stops_nothing(active, capfd):
    """Intended: no matter how many errors others cause, the node stays active and reports their rate."""
    before = active.node.errors.total
    bad = SetParameters.Request(parameters=[ParameterMessage(name='top_k', value=ParameterValue(type=255))])
    for _ in range(STORM // 10):
        for _ in range(10):
            active.send(SetParameters, 'set_parameters', bad)
        assert active.gives_result(), 'frames get results in between'
    wait_for(lambda: active.node.errors.total == before + STORM, f'{STORM} errors', 30.0)
    assert active.alive and active.state() == 'active' and active.node.exit_status == 0
    status = active.node._own_status()
    values = {pair.key: pair.value for pair in status.values}
    assert status.level == DiagnosticStatus.ERROR and 'in the last 10 s)' in status.message
    assert float(values['callback_errors_hz']) > 0.0
    assert values['callback_errors'] == str(before + STORM)
    assert capfd.readouterr().err.count('a callback failed') <= 10, 'one line in 5 s, not one per error'


def test_d8_a_raw_parameter_of_any_type_leaves_the_node_alive(active):
    """rclpy's own service raises on a type that it does not know, and sends no response then."""
    before, unknown = active.node.errors.total, 0
    for number in range(256):
        name = ('top_k', 'cameras', 'no_such')[number % 3]
        message = ParameterMessage(name=name, value=ParameterValue(type=number, integer_value=-5))
        future = active.send(SetParametersAtomically, 'set_parameters_atomically',
                             SetParametersAtomically.Request(parameters=[message]))
        if number <= ParameterType.PARAMETER_STRING_ARRAY:
            result = active.wait(future).result
            assert not result.successful and result.reason
        else:
            unknown += 1
            wait_for(lambda: active.node.errors.total == before + unknown, f'type {number}', 10.0)  # noqa: B023
    assert active.alive and active.state() == 'active' and active.gives_result()
    assert 'is not a valid Parameter.Type' in active.node._own_status().message


@pytest.mark.parametrize('wish', [KeyboardInterrupt, SystemExit])
def test_d5_an_exception_that_ends_a_process_is_no_callback_error(context, wish):
    node, executor, errors = Node('ending', context=context), SingleThreadedExecutor(context=context), []

    def end() -> None:
        raise wish
    node.create_timer(0.01, end)
    executor.add_node(node)
    try:
        with pytest.raises(wish):
            spin_guarded(executor, lambda: False, errors.append)
    finally:
        executor.shutdown()
        node.destroy_node()
    assert errors == []


def test_opencv_uses_no_more_threads_than_the_parameter_says(context, model):
    for threads in (2, 1):
        with bench(context, model, name='threaded', threads=threads) as b:
            b.bring_to('inactive')
            assert cv2.getNumThreads() == threads
