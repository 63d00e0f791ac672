# SPDX-License-Identifier: Apache-2.0
"""D1 to D3: every transition from every state, during an inference, and many in a row."""

from __future__ import annotations

import gc
import os
import random
import threading
import time
from importlib.metadata import version

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from in_process import Bench, SlowBackend, bench, slow_down
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from replaying import FULL, wait_for

from shufflenet_ros.ros.node import STOP_TIMEOUT_S

STEPS = 200 if FULL else 60  # of the random walk
WAIT_S = STOP_TIMEOUT_S if FULL else 0.3  # of a deactivate for an inference
# Jazzy's rclpy raises in its own service on an illegal id: the guarded spin continues, the state stays, and
# no response is sent.
RESPONDS_TO_ILLEGAL_IDS = int(version('rclpy').split('.')[0]) >= 9

# State -> transition id -> label and goal, as in the ROS 2 design article on managed nodes.
LEGAL = {
    'unconfigured': {1: ('configure', 'inactive'), 5: ('shutdown', 'finalized')},
    'inactive': {2: ('cleanup', 'unconfigured'), 3: ('activate', 'active'), 6: ('shutdown', 'finalized')},
    'active': {4: ('deactivate', 'inactive'), 7: ('shutdown', 'finalized')},
    'finalized': {},
}
GOAL = {label: goal for moves in LEGAL.values() for label, goal in moves.values()}
# Every id that lifecycle_msgs has a name for, and some without one.
NAMED = {getattr(Transition, name) for name in dir(Transition) if name.startswith('TRANSITION_')}
IDS = range(256) if FULL else sorted(NAMED | {9, 100, 127, 128, 255})
LABELS = ('create', 'configure', 'cleanup', 'activate', 'deactivate', 'shutdown', 'destroy',
          'transition_success', 'transition_failure', 'transition_error', 'unconfigured', 'inactive',
          'active', 'finalized', 'configuring', 'cleaningup', 'shuttingdown', 'activating',
          'deactivating', 'errorprocessing', 'Configure', ' configure', 'nonsense', 'ä\n%s', 'x' * 10_000)


@pytest.fixture
def short_wait(monkeypatch):
    """A deactivate waits WAIT_S for an inference, by default less than the node's 3 s."""
    monkeypatch.setattr('shufflenet_ros.ros.node.STOP_TIMEOUT_S', WAIT_S)


def illegal(state: str) -> list[tuple[int, str]]:
    """Ids and labels that are no transition from the state."""
    labels = {label for label, _ in LEGAL[state].values()}
    return ([(number, '') for number in IDS if number not in LEGAL[state]]
            + [(0, label) for label in LABELS if label not in labels])


def rejects(b: Bench, number: int, label: str) -> bool:
    """Whether the node rejects the transition; and responds so, where rclpy lets it."""
    if RESPONDS_TO_ILLEGAL_IDS:
        return not b.change(number, label)
    future = b.send(ChangeState, 'change_state',
                    ChangeState.Request(transition=Transition(id=number, label=label)))
    b.state()
    return not (future.done() and future.result().success)


def make_busy(b: Bench, seconds: float = 0.0) -> tuple[SlowBackend, int]:
    """Start an inference that takes these seconds, or hangs until released; returns it and the stamp."""
    b.bring_to('inactive')
    slow = slow_down(b.node)
    b.activate()
    slow.begun.clear()
    slow.seconds = seconds
    if not seconds:
        slow.released.clear()
    stamp = b.show()
    assert slow.begun.wait(5.0)
    return slow, stamp


@pytest.mark.parametrize('state', LEGAL)
def test_d1_an_illegal_transition_is_rejected_and_changes_nothing(context, model, state):
    with bench(context, model) as b:
        b.bring_to(state)
        for number, label in illegal(state):
            assert rejects(b, number, label), (state, number, label)
            assert b.state() == b.node.state == state, (state, number, label)
        assert b.alive and (b.node.errors.total == 0 or not RESPONDS_TO_ILLEGAL_IDS)


@pytest.mark.parametrize(('state', 'number'), [(state, number) for state in LEGAL for number in LEGAL[state]])
def test_d1_a_legal_transition_works_by_id_and_by_label(context, model, state, number):
    label, goal = LEGAL[state][number]
    requests = ((number, ''), (0, label), (255, label))  # a label takes precedence over the id
    for group in [[request] for request in requests] if goal == 'finalized' else [requests]:
        with bench(context, model) as b:
            for request in group:
                b.bring_to(state)
                assert b.change(*request)
                assert b.state() == b.node.state == goal
            assert b.alive and b.node.errors.total == 0


def test_d1_illegal_transitions_during_an_inference_do_not_disturb_it(context, model):
    with bench(context, model) as b:
        slow, _ = make_busy(b, 0.1)
        for number, label in illegal('active'):
            slow.begun.clear()
            b.show()
            assert rejects(b, number, label), (number, label)
            assert b.node.state == 'active'
        assert slow.begun.wait(2.0)
        assert b.gives_result()
        assert b.alive and (b.node.errors.total == 0 or not RESPONDS_TO_ILLEGAL_IDS)


@pytest.mark.parametrize('labels', [('deactivate',), ('deactivate', 'cleanup'), ('shutdown',)])
def test_d3_stopping_waits_for_the_inference_and_publishes_nothing_after(context, model, labels):
    with bench(context, model) as b:
        _, current = make_busy(b, 0.6)
        b.show()  # waits for the current one, and is superseded
        started = time.monotonic()
        for label in labels:
            assert b.change(label=label)
        assert time.monotonic() - started <= 3.0
        b.show()
        time.sleep(0.8)
        assert b.heard[-1].header.stamp.sec == current
        assert b.state() == GOAL[labels[-1]]


@pytest.mark.usefixtures('short_wait')
def test_d3_an_inference_that_outlasts_the_wait_is_not_published(context, model):
    with bench(context, model) as b:
        slow, current = make_busy(b, WAIT_S + 0.7)
        assert b.change(label='deactivate') and not slow.ended.is_set()
        assert b.change(label='cleanup')
        assert slow.ended.wait(5.0)
        time.sleep(0.3)
        assert current not in b.heard_stamps
        b.activate()


@pytest.mark.usefixtures('short_wait')
def test_d3_an_activate_during_a_stuck_inference_fails_at_once(context, model):
    with bench(context, model) as b:
        stuck, current = make_busy(b)
        assert b.change(label='deactivate')
        for _ in range(2):
            assert not b.change(label='activate') and b.state() == b.node.state == 'inactive'
            status = b.node._own_status()
            assert status.level == DiagnosticStatus.ERROR
            assert 'activate failed: a frame has been processed for' in status.message
            assert 'clean up and configure' in status.message
        stuck.released.set()
        wait_for(lambda: b.node._engine and not b.node._engine.total().in_flight, 'its end')
        b.activate()
        assert current not in b.heard_stamps


@pytest.mark.usefixtures('short_wait')
def test_d3_cleanup_and_configure_recover_from_stuck_inferences_up_to_a_limit(context, model, monkeypatch):
    monkeypatch.setattr('shufflenet_ros.ros.node.MAX_ABANDONED', 2)
    with bench(context, model) as b:
        stuck = []
        for n in (1, 2):  # the second round's worker gives results beside the first one, which is stuck
            stuck.append(make_busy(b)[0])
            b.bring_to('unconfigured')
            status = b.node._own_status()
            assert status.level == DiagnosticStatus.WARN
            assert f'abandoned inferences: {n}' in status.message
        assert not b.change(label='configure')
        assert 'configure failed: 2 inferences never ended' in b.node.failure
        assert b.node.close(0.0) is False, 'Python must not end in the ordinary way now'
        for backend in stuck:
            backend.released.set()
        wait_for(lambda: b.node.abandoned() == 0, 'their ends')
        b.activate()
        assert b.node.close(5.0)


def resources(b: Bench) -> dict[str, int]:
    """What would grow in a node that does not release everything."""
    gc.collect()  # nodes of earlier tests release their threads when Python collects them
    return {'threads': len(os.listdir('/proc/self/task')), 'files': len(os.listdir('/proc/self/fd')),
            'subscriptions': len(list(b.node.subscriptions)), 'publishers': len(list(b.node.publishers)),
            'timers': len(list(b.node.timers)), 'clients': len(list(b.node.clients))}


def test_d2_a_random_walk_under_frames_leaves_nothing_behind(context, model):
    choose = random.Random(7)
    with bench(context, model) as b:
        b.activate()
        b.bring_to('unconfigured')
        before, results = resources(b), len(b.heard)
        over = threading.Event()

        def camera() -> None:
            while not over.wait(0.01):
                b.show()

        frames = threading.Thread(target=camera, daemon=True)
        frames.start()
        try:
            for step in range(STEPS):
                moves = [move for move in LEGAL[b.node.state].values() if move[1] != 'finalized']
                label, goal = choose.choice(moves)
                assert b.change(label=label), (step, label)
                assert b.node.state == goal
                if label == 'activate':
                    b.wait_for_topics()
                    time.sleep(0.03)
                if label == 'deactivate':
                    time.sleep(0.03)
                    heard = len(b.heard)
                    time.sleep(0.03)
                    assert len(b.heard) == heard, f'step {step}: published while inactive'
        finally:
            over.set()
            frames.join(5.0)
        assert b.state() == b.node.state
        assert len(b.heard) > results
        b.activate()
        b.bring_to('unconfigured')
        after = resources(b)
        # A response that is still on its way may hold a file; a leak would grow with the number of steps.
        assert {**after, 'files': 0} == {**before, 'files': 0}
        assert abs(after['files'] - before['files']) <= 2
        assert b.alive and b.node.errors.total == 0
