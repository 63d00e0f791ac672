# SPDX-License-Identifier: Apache-2.0
"""D1 to D3: every transition from every state, during an inference, and 200 in a row."""

from __future__ import annotations

import gc
import os
import random
import threading
import time
from importlib.metadata import version
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2')
pytest.importorskip('onnx', reason='needs the extra export')

from diagnostic_msgs.msg import DiagnosticStatus
from in_process import Bench, bench, block, slow_down
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.context import Context
from replaying import wait_for

# Jazzy's rclpy raises in its own service on an illegal id: the guarded spin goes on, the state stays, and
# nobody gets an answer.
ANSWERS_ILLEGAL_IDS = int(version('rclpy').split('.')[0]) >= 9

# State -> transition id -> label and goal, as in the ROS 2 design article on managed nodes.
LEGAL = {
    'unconfigured': {1: ('configure', 'inactive'), 5: ('shutdown', 'finalized')},
    'inactive': {2: ('cleanup', 'unconfigured'), 3: ('activate', 'active'), 6: ('shutdown', 'finalized')},
    'active': {4: ('deactivate', 'inactive'), 7: ('shutdown', 'finalized')},
    'finalized': {},
}
GOAL = {label: goal for moves in LEGAL.values() for label, goal in moves.values()}
LABELS = ('create', 'configure', 'cleanup', 'activate', 'deactivate', 'shutdown', 'destroy',
          'transition_success', 'transition_failure', 'transition_error', 'unconfigured', 'inactive',
          'active', 'finalized', 'configuring', 'cleaningup', 'shuttingdown', 'activating',
          'deactivating', 'errorprocessing', 'Configure', ' configure', 'nonsense', 'ä\n%s', 'x' * 10_000)


def illegal(state: str) -> list[tuple[int, str]]:
    """Every id and every label that the state does not take."""
    labels = {label for label, _ in LEGAL[state].values()}
    return ([(number, '') for number in range(256) if number not in LEGAL[state]]
            + [(0, label) for label in LABELS if label not in labels])


def rejects(b: Bench, number: int, label: str) -> bool:
    """Whether the node doesn't take the transition; and says so, where rclpy lets it."""
    if ANSWERS_ILLEGAL_IDS:
        return not b.change(number, label)
    answer = b.send(ChangeState, 'change_state',
                    ChangeState.Request(transition=Transition(id=number, label=label)))
    b.state()
    return not (answer.done() and answer.result().success)


@pytest.mark.parametrize('state', LEGAL)
def test_d1_an_illegal_transition_is_rejected_and_changes_nothing(context: Context, model: Path,
                                                                 state: str) -> None:
    with bench(context, model) as b:
        b.bring_to(state)
        for number, label in illegal(state):
            assert rejects(b, number, label), (state, number, label)
            assert b.state() == b.node.state == state, (state, number, label)
        assert b.alive and (b.node.errors.total == 0 or not ANSWERS_ILLEGAL_IDS)


@pytest.mark.parametrize(('state', 'number'), [(state, number) for state in LEGAL for number in LEGAL[state]])
def test_d1_a_legal_transition_works_by_id_and_by_label(context: Context, model: Path, state: str,
                                                        number: int) -> None:
    label, goal = LEGAL[state][number]
    for request in ((number, ''), (0, label), (255, label)):  # a label wins over the id
        with bench(context, model) as b:
            b.bring_to(state)
            assert b.change(*request)
            assert b.state() == b.node.state == goal
            assert b.alive and b.node.errors.total == 0


def test_d1_illegal_transitions_during_an_inference_do_not_disturb_it(context: Context, model: Path) -> None:
    with bench(context, model) as b:
        b.bring_to('inactive')
        slow = slow_down(b.node, 0.1)
        b.bring_to('active')
        b.wait_for_subscription()
        for number, label in illegal('active'):
            slow.begun.clear()
            b.show()
            assert rejects(b, number, label), (number, label)
            assert b.node.state == 'active'
        assert slow.begun.wait(2.0)
        assert b.answered()
        assert b.alive and (b.node.errors.total == 0 or not ANSWERS_ILLEGAL_IDS)


@pytest.mark.parametrize('labels', [('deactivate',), ('deactivate', 'cleanup'), ('shutdown',)])
def test_d3_stopping_waits_for_the_inference_and_sends_nothing_after(context: Context, model: Path,
                                                                     labels: tuple[str, ...]) -> None:
    with bench(context, model) as b:
        b.bring_to('inactive')
        slow = slow_down(b.node, 0.0)
        b.bring_to('active')
        b.wait_for_subscription()
        slow.seconds = 1.0
        slow.begun.clear()
        in_work = b.show()
        assert slow.begun.wait(5.0)
        b.show()  # waits behind the one in work, and is superseded
        started = time.monotonic()
        for label in labels:
            assert b.change(label=label)
        took = time.monotonic() - started
        print(f'{labels}: {took:.3f} s')
        assert took <= 3.0
        b.show()
        b.listen(1.3)
        assert b.heard[-1].header.stamp.sec == in_work
        assert b.state() == GOAL[labels[-1]]


def test_d3_an_inference_that_outlasts_the_wait_is_not_sent(context: Context, model: Path) -> None:
    with bench(context, model) as b:
        b.bring_to('inactive')
        slow = slow_down(b.node, 0.0)
        b.bring_to('active')
        b.wait_for_subscription()
        slow.seconds = 4.0
        slow.begun.clear()
        in_work = b.show()
        assert slow.begun.wait(5.0)
        assert b.change(label='deactivate')
        assert b.change(label='cleanup')
        assert slow.ended.wait(5.0)
        b.listen(0.3)
        assert in_work not in {answer.header.stamp.sec for answer in b.heard}
        slow.seconds = 0.0
        b.bring_to('active')
        b.wait_for_subscription()


def test_d3_an_activate_behind_a_stuck_inference_fails_at_once(context: Context, model: Path) -> None:
    with bench(context, model) as b:
        b.bring_to('inactive')
        stuck = block(b.node)
        b.bring_to('active')
        b.wait_for_subscription_alone()
        in_work = b.show()
        assert stuck.begun.wait(5.0)
        assert b.change(label='deactivate')
        for _ in range(2):
            assert not b.change(label='activate') and b.state() == b.node.state == 'inactive'
            said = b.node._own_status()
            assert said.level == DiagnosticStatus.ERROR
            assert 'activate failed: a frame has been processed for' in said.message
            assert 'clean up and configure' in said.message
        stuck.go_on.set()
        wait_for(lambda: b.node._engine and not b.node._engine.total().in_flight, 'its end')
        b.bring_to('active')
        b.wait_for_subscription()
        assert in_work not in {answer.header.stamp.sec for answer in b.heard}


def test_d3_clean_up_and_configure_cure_a_stuck_inference_but_not_for_ever(
        context: Context, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('shufflenet_ros.ros.node.MAX_ABANDONED', 2)
    with bench(context, model) as b:
        stuck = []
        for n in (1, 2):
            b.bring_to('inactive')
            stuck.append(block(b.node))
            b.bring_to('active')
            b.wait_for_subscription_alone()
            b.show()
            assert stuck[-1].begun.wait(5.0)
            b.bring_to('unconfigured')
            said = b.node._own_status()
            assert said.level == DiagnosticStatus.WARN
            assert f'abandoned inferences: {n}' in said.message
            if n == 1:  # the new worker answers beside the stuck one
                b.bring_to('active')
                b.wait_for_subscription()
                assert b.answered()
                b.bring_to('unconfigured')
        assert not b.change(label='configure')
        assert 'configure failed: 2 inferences never ended' in b.node.failure
        assert b.node.close(0.0) is False, 'Python must not end in the ordinary way now'
        for one in stuck:
            one.go_on.set()
        wait_for(lambda: b.node.abandoned() == 0, 'their ends')
        b.bring_to('active')
        b.wait_for_subscription()
        assert b.answered() and b.node.close(5.0)


def held(b: Bench) -> dict[str, int]:
    """What a node that forgets to let go would hold more of."""
    gc.collect()  # nodes of earlier tests let their threads go when Python collects them
    return {'threads': len(os.listdir('/proc/self/task')), 'files': len(os.listdir('/proc/self/fd')),
            'subscriptions': len(list(b.node.subscriptions)), 'publishers': len(list(b.node.publishers)),
            'timers': len(list(b.node.timers)), 'clients': len(list(b.node.clients))}


def test_d2_a_random_walk_under_frames_leaves_nothing_behind(context: Context, model: Path) -> None:
    choose = random.Random(7)
    with bench(context, model) as b:
        b.bring_to('active')
        b.wait_for_subscription()
        b.bring_to('unconfigured')
        before, answers = held(b), len(b.heard)
        over = threading.Event()

        def camera() -> None:
            while not over.wait(0.01):
                b.show()

        frames = threading.Thread(target=camera, daemon=True)
        frames.start()
        try:
            for step in range(200):
                moves = [move for move in LEGAL[b.node.state].values() if move[1] != 'finalized']
                label, goal = choose.choice(moves)
                assert b.change(label=label), (step, label)
                assert b.node.state == goal
                if label == 'deactivate':
                    b.listen(0.03)
                    heard = len(b.heard)
                    b.listen(0.03)
                    assert len(b.heard) == heard, f'step {step}: published while inactive'
        finally:
            over.set()
            frames.join(5.0)
        assert b.state() == b.node.state
        assert len(b.heard) > answers
        b.bring_to('active')
        b.wait_for_subscription()
        b.bring_to('unconfigured')
        after = held(b)
        # An answer that is still on its way may hold a file; growth by the walk would be 50 and more.
        assert {**after, 'files': 0} == {**before, 'files': 0}
        assert abs(after['files'] - before['files']) <= 2
        assert b.alive and b.node.errors.total == 0
