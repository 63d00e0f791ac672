# SPDX-License-Identifier: Apache-2.0
"""`shufflenet-ros watch`: the page in a real browser, of a real node over DDS."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPConnection
from statistics import median
from typing import Any

import pytest
from driving import BEST_EFFORT, GREEN, RED, Driver, Stream, active_node, plain
from in_process import ROUTES
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetAvailableTransitions
from rcl_interfaces.srv import DescribeParameters, ListParameters
from replaying import COMMAND, FULL, process, wait_for

pytest.importorskip('aiohttp', reason='needs the extra web')
browsers = pytest.importorskip('browser', reason='needs selenium')

OPENINGS, FIRST_IMAGE_S = (5, 2.0) if FULL else (1, 15.0)
STEPS = 100 if FULL else 15
RATE_HZ = 30.0
SIZE = (240, 320)
NODE = '/shufflenet'
COUNT_IMAGES = """
window.shown = 0;
const make = URL.createObjectURL;
URL.createObjectURL = (blob) => { window.shown += 1; return make(blob); };
"""


@pytest.fixture(scope='module')
def chrome() -> Iterator[Any]:
    with browsers.browser() as started:
        yield started


@pytest.fixture(scope='module')
def url(own_domain, tmp_path_factory) -> Iterator[str]:
    """The address that a watch process prints; SIGTERM ends it."""
    log = tmp_path_factory.mktemp('watch') / 'log'
    with process([*COMMAND, 'watch', '--port', '0'], log) as child:
        wait_for(lambda: child.poll() is not None or '/\n' in log.read_text(), 'the address')
        yield log.read_text().split()[-1]
        child.send_signal(signal.SIGTERM)
        assert child.wait(5.0) == 0, log.read_text()


def text(chrome: Any) -> str:
    """What the page shows."""
    return str(chrome.execute_script('return document.body.innerText'))


def images(chrome: Any) -> int:
    """How many images it shows, without dimmed ones."""
    return int(chrome.execute_script('return [...document.querySelectorAll("section:not(.old) img")]'
                                     '.filter((image) => image.naturalWidth).length'))


def best(chrome: Any) -> list[str]:
    """The first label of each camera."""
    return list(chrome.execute_script('return [...document.querySelectorAll("section")]'
                                      '.map((camera) => camera.querySelector(".label span")?.textContent)'))


def colors(drive: Driver, stack: ExitStack, **cameras: Any) -> None:
    """Send images of one color on each camera's topic."""
    for name, color in cameras.items():
        publisher = drive.camera(f'/{name}/image_raw', qos=BEST_EFFORT)
        stack.enter_context(Stream(publisher, plain(color, size=SIZE), RATE_HZ))


def test_two_cameras_at_most_at_10_hz_only_for_viewers_and_again_after_a_restart(
        drive, model, tmp_path, url, chrome, capsys):
    parameters = {'model': model, 'cameras': '[front, rear]'}

    def viewers() -> list[int]:
        return [drive.operator.count_subscribers(f'{NODE}/{name}/debug_image') for name in ('front', 'rear')]

    with ExitStack() as stack:
        with active_node(drive, tmp_path / 'first.log', parameters):
            colors(drive, stack, front=RED, rear=GREEN)
            drive.status_when('camera rear', lambda status: status.count('published') > 0, 'a result')
            seconds = []
            for _ in range(OPENINGS):
                chrome.get('about:blank')
                wait_for(lambda: viewers() == [0, 0], 'the end of the subscriptions')
                began = time.monotonic()
                chrome.get(url)
                wait_for(lambda: images(chrome) == 2, 'an image of each camera')
                seconds.append(time.monotonic() - began)
            with capsys.disabled():
                print(f'\nfirst images of two cameras, median of {OPENINGS}: {median(seconds):.2f} s')
            assert median(seconds) <= FIRST_IMAGE_S
            wait_for(lambda: viewers() == [1, 1], 'one subscription for each camera')
            wait_for(lambda: best(chrome) == ['red', 'green'], 'both labels')
            for expected in ('active', 'camera front', 'camera rear', 'dropped: none', 'inference'):
                wait_for(lambda expected=expected: f'\n{expected}' in text(chrome), expected)
            began = time.monotonic()
            chrome.execute_script(COUNT_IMAGES)
            time.sleep(1.5)
            shown = chrome.execute_script('return window.shown')
            assert 2 <= shown <= 2 * (10 * (time.monotonic() - began) + 1)
        wait_for(lambda: 'shufflenet has been gone for' in text(chrome) and not images(chrome), 'its end')
        with active_node(drive, tmp_path / 'second.log', parameters):
            wait_for(lambda: images(chrome) == 2 and 'gone' not in text(chrome), 'images of the new node')
            chrome.get('about:blank')
            wait_for(lambda: viewers() == [0, 0], 'the end of the subscriptions')
    addresses = {address.split('/')[2] for address in browsers.requested(chrome) if address != 'about:blank'}
    assert addresses == {url.split('/')[2]}
    assert browsers.complaints(chrome) == []


def test_other_machines_need_the_token_that_is_printed(own_domain, tmp_path):
    log = tmp_path / 'log'
    with process([*COMMAND, 'watch', '--port', '0', '--host', '0.0.0.0'], log) as child:
        wait_for(lambda: child.poll() is not None or '?token=' in log.read_text(), 'the address')
        address, token = log.read_text().split()[-1].split('/?token=')
        assert len(token) >= 20
        for query, expected in (('', 403), (f'?token={token}x', 403), (f'?token={token}', 200)):
            connection = HTTPConnection('127.0.0.1', int(address.rpartition(':')[2]))
            connection.request('GET', f'/{query}')
            assert connection.getresponse().status == expected
            connection.close()


def step(drive: Driver, choose: random.Random) -> str:
    """One random transition, parameter change or service call, right or wrong; what it was."""
    kind = choose.choice(('transition', 'transition', 'illegal', 'valid', 'invalid', 'service'))
    state = drive.state()
    if kind == 'transition':
        goal = choose.choice(('unconfigured', 'inactive', 'active'))
        while (state := drive.state()) != goal:
            assert drive.change(label=ROUTES[goal][state]), (state, goal)
        return f'to {goal}'
    if kind == 'illegal':
        label = 'activate' if state != 'inactive' else 'deactivate'
        drive.send(ChangeState, 'change_state', ChangeState.Request(transition=Transition(label=label)))
        assert drive.state() == state  # Jazzy's rclpy sends no response
        return f'{label} in {state}'
    if kind in ('valid', 'invalid'):
        name, value = choose.choice({
            'valid': [('top_k', 3), ('min_score', 0.5), ('class_id', 'index'), ('embedding', False),
                      ('max_rate_hz', 5.0), ('max_age_s', 60.0), ('expected_rate_hz', RATE_HZ)],
            'invalid': [('top_k', 0), ('min_score', 2.0), ('class_id', 'x'), ('model', '/etc/passwd'),
                        ('autostart', False), ('no_such_parameter', 1), ('top_k', 'three')]}[kind])
        assert drive.set(**{name: value})[0].successful == (kind == 'valid'), (name, value)
        return f'{name}: {value}'
    service, request = choose.choice([
        ('list_parameters', ListParameters), ('describe_parameters', DescribeParameters),
        ('get_available_transitions', GetAvailableTransitions)])
    drive.call(request, service, request.Request())
    return service


def test_random_steps_with_frames_and_a_page_leave_the_node_alive_and_every_frame_counted(
        drive, model, tmp_path, url, chrome):
    choose = random.Random(13)
    with active_node(drive, tmp_path / 'node.log', {'model': model}) as node:
        camera = drive.camera(qos=BEST_EFFORT)
        with Stream(camera, plain(RED, size=SIZE), RATE_HZ):
            chrome.get(url)
            wait_for(lambda: images(chrome) and best(chrome) == ['red'], 'the page')
            steps = []
            for _ in range(STEPS):
                steps.append(step(drive, choose))
                time.sleep(0.1)  # some frames
        while (state := drive.state()) != 'active':
            assert drive.change(label=ROUTES['active'][state])
        assert all(result.successful for result in drive.set(
            top_k=5, min_score=0.0, class_id='name', max_rate_hz=0.0))
        wait_for(camera.get_subscription_count, 'the node to subscribe')
        with Stream(camera, plain(GREEN, size=SIZE), RATE_HZ):
            wait_for(lambda: images(chrome) and best(chrome) == ['green'], f'the new label after {steps}')
            drive.status_when('camera', lambda status: status.count('published') > 0, 'results')
        assert node.poll() is None and browsers.complaints(chrome) == []
    checked = 0
    for status in drive.statuses('node') + drive.statuses('camera'):
        if 'received' in status.values:
            status.assert_all_counted()
            checked += status.count('received') > 0
    assert checked >= 2
