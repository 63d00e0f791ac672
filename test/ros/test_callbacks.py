# SPDX-License-Identifier: Apache-2.0
"""D5: exceptions in callbacks, in hooks and inside rclpy are counted and shown; the node keeps running."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2')
pytest.importorskip('onnx', reason='needs the extra export')

from diagnostic_msgs.msg import DiagnosticStatus
from in_process import Bench, bench
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from replaying import wait_for

from shufflenet_ros.core.classifier import Classifier
from shufflenet_ros.core.opencv import cv2
from shufflenet_ros.core.reasons import DropReason
from shufflenet_ros.core.watch import RateWatch
from shufflenet_ros.ros.checked import ValidatedParameters
from shufflenet_ros.ros.frame_processor import FrameProcessor
from shufflenet_ros.ros.node import ClassifyNode
from shufflenet_ros.ros.spin import spin_guarded

ERRORS = (ValueError, MemoryError, RuntimeError)
STORM = 300


@dataclass
class Fault:
    """An exception that waits in a function: raised on the next `times` calls."""

    error: type[BaseException] = ValueError
    times: int = 0
    raised: int = 0

    def plant(self, patch: pytest.MonkeyPatch, owner: type, name: str) -> None:
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


# Where the fault lies, what makes the node go there: in the executor's thread, and in the worker's.
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
HOOKS = {  # method -> label of the transition that meets it, state before, state after the failure
    '_configure': ('configure', 'unconfigured', 'unconfigured'),
    '_make_cameras': ('configure', 'unconfigured', 'unconfigured'),
    '_activate': ('activate', 'inactive', 'inactive'),
    '_stop': ('deactivate', 'active', 'unconfigured'),
    '_release': ('cleanup', 'inactive', 'unconfigured'),
}


@pytest.fixture(scope='module')
def faults() -> Iterator[dict[str, Fault]]:
    """A fault at each point, in the classes themselves, because callbacks are bound early."""
    points = {name: place[:2] for name, place in IN_SPIN.items()} | IN_WORKER
    points |= {name: (ClassifyNode, name) for name in HOOKS} | {'note_drop': (FrameProcessor, 'note_drop')}
    planted = {name: Fault() for name in points}
    with pytest.MonkeyPatch.context() as patch:
        for name, (owner, method) in points.items():
            planted[name].plant(patch, owner, method)
        yield planted


@pytest.fixture(scope='module')
def shared(faults: dict[str, Fault], context: Context, model: Path) -> Iterator[Bench]:
    with bench(context, model) as made:
        yield made


@pytest.fixture
def active(shared: Bench) -> Bench:
    """The node, active and heard, with no fault about."""
    shared.bring_to('active')
    shared.wait_for_subscription()
    return shared


@pytest.mark.parametrize('error', ERRORS)
@pytest.mark.parametrize('point', IN_SPIN)
def test_d5_a_callback_that_raises_is_counted_and_the_next_frame_answered(
        active: Bench, faults: dict[str, Fault], point: str, error: type[Exception]) -> None:
    before = active.node.errors.total
    faults[point].arm(error)
    IN_SPIN[point][2](active)
    wait_for(lambda: faults[point].raised and active.node.errors.total > before, f'the fault in {point}',
             10.0)
    assert active.node.errors.total == before + 1
    assert active.alive and active.state() == 'active'
    assert active.answered()
    said = active.node._own_status()
    assert said.level == DiagnosticStatus.ERROR and f'{error.__name__}: planted' in said.message


@pytest.mark.parametrize('error', ERRORS)
@pytest.mark.parametrize('point', IN_WORKER)
def test_d5_a_worker_that_raises_drops_that_frame_and_answers_the_next(
        active: Bench, faults: dict[str, Fault], point: str, error: type[Exception]) -> None:
    reason = DropReason.NO_MEMORY if error is MemoryError else DropReason.BACKEND_ERROR
    engine = active.node._engine
    assert engine is not None
    before, errors = engine.total(), active.node.errors.total
    faults[point].arm(error)
    stamp = active.show()
    wait_for(lambda: engine.total().dropped[reason] > before.dropped[reason], f'the drop in {point}', 10.0)
    assert active.alive and active.state() == 'active'
    assert active.answered()
    assert stamp not in {answer.header.stamp.sec for answer in active.heard}
    now = engine.total()
    assert now.dropped[reason] == before.dropped[reason] + 1 and now.published > before.published
    assert active.node.errors.total == errors


def test_d5_a_log_of_a_drop_that_raises_costs_nothing(active: Bench, faults: dict[str, Fault]) -> None:
    faults['processor'].arm(ValueError)
    faults['note_drop'].arm(RuntimeError)
    active.show()
    wait_for(lambda: faults['note_drop'].raised, 'the drop', 10.0)
    assert active.state() == 'active' and active.answered()


@pytest.mark.parametrize('error', ERRORS)
@pytest.mark.parametrize('hook', HOOKS)
def test_d5_a_hook_that_raises_fails_its_transition_and_says_so(
        shared: Bench, faults: dict[str, Fault], hook: str, error: type[Exception]) -> None:
    label, before, after = HOOKS[hook]
    shared.bring_to(before)
    faults[hook].arm(error)
    assert not shared.change(label=label)
    assert faults[hook].raised == 1
    assert shared.state() == shared.node.state == after
    said = shared.node._own_status()
    assert said.level == DiagnosticStatus.ERROR and f'{label} failed: planted' in said.message
    shared.bring_to('active')
    shared.wait_for_subscription()
    assert shared.node.failure == ''


def test_d5_a_node_that_cannot_even_clean_up_is_finalized(faults: dict[str, Fault], context: Context,
                                                          model: Path) -> None:
    with bench(context, model, 'untidy') as b:
        b.bring_to('active')
        faults['_stop'].arm(RuntimeError, times=2)
        assert not b.change(label='deactivate')
        assert b.state() == b.node.state == 'finalized'
        assert 'on_error failed: planted' in b.node._own_status().message
        assert b.alive


def test_d5_a_storm_of_exceptions_leaves_services_answering(active: Bench, faults: dict[str, Fault]) -> None:
    before = active.node.errors.total
    faults['image callback'].arm(RuntimeError, times=100)

    def more() -> bool:
        active.show()
        assert active.state() == 'active'
        return faults['image callback'].times == 0
    wait_for(more, '100 exceptions', 30.0)
    assert active.alive and active.answered()
    assert active.node.errors.total == before + 100


def test_d5_a_storm_from_the_network_stops_nothing(active: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    """Decided: however many errors anybody brings about, the node stays active, and tells the rate."""
    before = active.node.errors.total
    bad = SetParameters.Request(parameters=[ParameterMessage(name='top_k', value=ParameterValue(type=255))])
    for _ in range(STORM // 10):
        for _ in range(10):
            active.send(SetParameters, 'set_parameters', bad)
        assert active.answered(), 'frames are answered in between'
    wait_for(lambda: active.node.errors.total == before + STORM, f'{STORM} errors', 30.0)
    assert active.alive and active.state() == 'active' and active.node.exit_status == 0
    said = active.node._own_status()
    values = {pair.key: pair.value for pair in said.values}
    assert said.level == DiagnosticStatus.ERROR and 'in the last 10 s)' in said.message
    assert float(values['callback_errors_hz']) > 0.0
    assert values['callback_errors'] == str(before + STORM)
    assert capfd.readouterr().err.count('a callback failed') <= 10, 'a line in 5 s, not one an error'


def test_errors_of_the_image_callback_count_apart(active: Bench, faults: dict[str, Fault]) -> None:
    for point, apart in (('arrival watch', 1), ('parameter service', 0)):
        total, images = active.node.errors.total, active.node.errors.images
        faults[point].arm(RuntimeError)
        IN_SPIN[point][2](active)
        wait_for(lambda: active.node.errors.total > total, f'the fault in {point}', 10.0)  # noqa: B023
        assert (active.node.errors.total, active.node.errors.images) == (total + 1, images + apart)


def test_d8_a_raw_parameter_of_any_type_leaves_the_node_alive(active: Bench) -> None:
    """rclpy's own service raises on a type that it does not know, and gives no answer then."""
    before, unknown = active.node.errors.total, 0
    for number in range(256):
        name = ('top_k', 'cameras', 'no_such')[number % 3]
        message = ParameterMessage(name=name, value=ParameterValue(type=number))
        future = active.send(SetParametersAtomically, 'set_parameters_atomically',
                             SetParametersAtomically.Request(parameters=[message]))
        if number <= ParameterType.PARAMETER_STRING_ARRAY:
            verdict = active.wait(future).result
            assert not verdict.successful and verdict.reason
        else:
            unknown += 1
            wait_for(lambda: active.node.errors.total == before + unknown, f'type {number}', 10.0)  # noqa: B023
    assert active.alive and active.state() == 'active' and active.answered()


@pytest.mark.parametrize('wish', [KeyboardInterrupt, SystemExit])
def test_d5_a_wish_to_end_the_process_is_no_error(context: Context, wish: type[BaseException]) -> None:
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


def test_opencv_takes_no_more_threads_than_the_parameter_says(context: Context, model: Path) -> None:
    for threads in (2, 1):
        with bench(context, model, 'threaded', threads=threads) as b:
            b.bring_to('inactive')
            assert cv2.getNumThreads() == threads
