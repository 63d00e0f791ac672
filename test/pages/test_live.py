# SPDX-License-Identifier: Apache-2.0
"""The live page without ROS: who is let in, limits, and text from the network in a real browser."""

from __future__ import annotations

import asyncio
import http.client
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import cv2
import numpy as np
import pytest

aiohttp = pytest.importorskip('aiohttp', reason='needs the extra web')
pytest.importorskip('jinja2', reason='needs the extra web')

from shufflenet_ros.core.node_view import CameraView, NodeView, StatusView  # noqa: E402
from shufflenet_ros.pages import live  # noqa: E402
from shufflenet_ros.pages.live import MAX_CLIENTS, LivePage, ServeError, is_local  # noqa: E402

TOKEN = 'abcDEF12-_'
HOSTILE = '<img src=x onerror="document.title=1"><script>document.title=2</script>\u202e'
REQUEST = (b'GET /live HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
           b'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n')
JPEG = bytes(cv2.imencode('.jpg', np.full((48, 64, 3), 90, np.uint8))[1])


@dataclass
class Source:
    """A node with one camera that has a new image whenever it is asked for one."""

    text: str = 'red'
    jpeg: bytes = JPEG
    number: int = 0
    active: list[bool] = field(default_factory=list)

    def view(self) -> NodeView:
        values = {'model': self.text, 'topic': self.text, 'dropped.stale': '3', self.text: '1'}
        status = StatusView(1, self.text, values)
        return NodeView(self.text, status, '', (
            CameraView(self.text, status, self.text, ((self.text, 0.5),), 0.1),))

    def image(self, camera: str, shown: int) -> tuple[int, bytes]:
        self.number += 1
        return self.number, self.jpeg

    def set_active(self, active: bool) -> None:
        self.active.append(active)


@contextmanager
def served(source: Source, token: str = '', host: str = '127.0.0.1') -> Iterator[int]:
    """Serve in a thread; yields the port."""
    ports: queue.Queue[int] = queue.Queue()
    stops: list[Callable[[], object]] = []
    page = LivePage(source, host, 0, token)
    thread = threading.Thread(target=page.run, args=(ports.put, stops.append))
    thread.start()
    try:
        yield ports.get(timeout=10.0)
    finally:
        stops[0]()
        thread.join(5.0)
        assert not thread.is_alive()


def get(port: int, path: str, **headers: str) -> tuple[int, bytes]:
    """Status and body."""
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=10.0)
    if path.startswith('/live'):
        headers |= {'Upgrade': 'websocket', 'Connection': 'Upgrade', 'Sec-WebSocket-Version': '13',
                    'Sec-WebSocket-Key': 'AAAAAAAAAAAAAAAAAAAAAA=='}
    connection.request('GET', path, headers=headers)
    response = connection.getresponse()
    body = b'' if response.status == 101 else response.read()
    connection.close()
    return response.status, body


@pytest.mark.parametrize('path', ['/', '/live', '/nothing'])
def test_a_wrong_or_missing_token_gets_nothing(path):
    with served(Source(), TOKEN) as port:
        for query in ('', '?token=', f'?token={TOKEN}x', f'?token={TOKEN[:-1]}', '?token=%ff%00', '?token=ä'):
            assert get(port, path + query.replace('ä', '%C3%A4')) == (403, b''), query
        for cookie in ('', TOKEN, f'shufflenet_watch_0={TOKEN}x'):
            assert get(port, path, Cookie=cookie) == (403, b''), cookie
        assert get(port, f'{path}?token=no', Cookie=f'shufflenet_watch_0={TOKEN}') == (403, b'')
        expected = {'/': 200, '/live': 101, '/nothing': 404}[path]
        assert get(port, f'{path}?token={TOKEN}')[0] == expected
        assert get(port, path, Cookie=f'shufflenet_watch_0={TOKEN}')[0] == expected


@pytest.mark.parametrize(('headers', 'allowed'), [
    ({}, True), ({'Host': 'localhost:8080'}, True), ({'Host': '192.168.1.7'}, True),
    ({'Host': '[::1]:8080'}, True),
    ({'Host': 'evil.example'}, False), ({'Host': 'localhost.evil.example'}, False), ({'Host': '[::'}, False),
    ({'Host': 'localhost:8080', 'Origin': 'http://localhost:8080'}, True),
    ({'Host': 'localhost:8080', 'Origin': 'http://localhost:8081'}, False),
    ({'Host': 'localhost:8080', 'Origin': 'http://evil.example'}, False),
    ({'Host': 'localhost:8080', 'Origin': 'null'}, False),
])
def test_another_sites_page_gets_nothing_where_no_token_is_needed(headers, allowed):
    with served(Source()) as port:
        statuses = [get(port, path, **headers)[0] for path in ('/', '/live')]
        assert statuses == ([200, 101] if allowed else [403, 403])


def test_only_this_machine_needs_no_token():
    assert all(map(is_local, ('localhost', '127.0.0.1', '127.1.2.3', '::1')))
    assert not any(map(is_local, ('0.0.0.0', '::', '192.168.1.7', 'robot.local', 'localhost.example')))


def test_a_port_in_use_is_an_error_that_names_the_option():
    with served(Source()) as port, pytest.raises(ServeError, match=f'{port}: .*; choose another --port'):
        LivePage(Source(), '127.0.0.1', port, '').run(print, print)
    with pytest.raises(ServeError, match='choose another --port or --host'):
        LivePage(Source(), 'a..b', 0, '').run(print, print)


def test_rate_clients_and_message_sizes_are_limited_and_the_source_is_active_only_for_clients():
    async def use(port: int) -> None:
        url = f'http://127.0.0.1:{port}/live'
        async with aiohttp.ClientSession() as session:
            sockets = [await session.ws_connect(url) for _ in range(MAX_CLIENTS)]
            rejected = await (await session.ws_connect(url)).receive()
            assert rejected.data == 1013 and 'close one' in rejected.extra
            began, images = time.monotonic(), 0
            while time.monotonic() < began + 1.0:
                await sockets[0].send_str('next')  # and at once the next one
                message = await sockets[0].receive()
                images += message.data.endswith(JPEG)
            assert 3 <= images <= 10 * (time.monotonic() - began) + 1
            await sockets[1].send_str('x' * 1000)
            assert (await sockets[1].receive()).data == 1009
            assert source.active[-1] is True
            for client in sockets:
                await client.close()

    source = Source()
    with served(source) as port:
        assert source.active == []
        asyncio.run(use(port))
    assert source.active[0] is True and source.active[-1] is False


def test_browsers_that_hang_are_cut_off_and_do_not_delay_the_end(monkeypatch):
    monkeypatch.setattr(live, 'PATIENCE_S', 1.0)
    source, request = Source(jpeg=bytes(4_000_000)), REQUEST + 20 * b'\x81\x84\0\0\0\0next'
    with ExitStack() as stack, served(source) as port:
        def hang() -> None:
            for _ in range(MAX_CLIENTS):
                stack.enter_context(socket.create_connection(('127.0.0.1', port))).sendall(request)
        hang()
        until = time.monotonic() + 20.0
        while source.active[-1:] != [False] and time.monotonic() < until:
            time.sleep(0.05)
        assert len(source.active) == 2 * MAX_CLIENTS and source.active[-1] is False
        monkeypatch.setattr(live, 'PATIENCE_S', 60.0)
        hang()
        time.sleep(0.5)
        assert source.active[-1] is True  # `served` checks that it ends in time


def test_garbage_gets_an_error_and_no_traceback(caplog):
    with served(Source()) as port:
        for garbage in (b'\0\xff\r\n\r\n', b'GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n',
                        REQUEST.replace(b'\r\n\r\n', b'\r\nX: %s\r\n\r\n' % (b'x' * 20_000)),
                        REQUEST.replace(b'/live', b'/../../etc/passwd'),
                        REQUEST.replace(b'\r\n\r\n', b'\r\nContent-Length: 5\r\n'
                                        b'Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n')):
            with socket.create_connection(('127.0.0.1', port), timeout=10.0) as connection:
                connection.sendall(garbage)
                assert connection.recv(100).split()[1].startswith(b'4'), garbage
        assert get(port, '/')[0] == 200
    assert caplog.text == ''


def test_text_from_the_network_stays_text_and_nothing_is_loaded_from_elsewhere():
    browsers = pytest.importorskip('browser', reason='needs selenium')
    from selenium.common.exceptions import WebDriverException
    with served(Source(HOSTILE), TOKEN) as port, browsers.browser(size=(390, 844)) as chrome:
        chrome.get(f'http://127.0.0.1:{port}/?token={TOKEN}')
        browsers.WebDriverWait(chrome, 20).until(lambda it: it.execute_script(
            'return [...document.images].some((image) => image.naturalWidth === 64)'))
        chrome.execute_script('document.querySelector("details").open = true')
        assert chrome.current_url == f'http://127.0.0.1:{port}/', 'the token is still in the address'
        text = chrome.execute_script('return document.body.innerText')
        assert text.count(HOSTILE) >= 8
        assert chrome.title == HOSTILE
        assert chrome.execute_script('return document.images.length') == 1
        assert chrome.execute_script('return document.scripts.length') == 1
        assert chrome.execute_script('return document.documentElement.scrollWidth <= innerWidth'), 'too wide'
        chrome.refresh()  # the cookie has the token now
        assert 'shufflenet' in chrome.page_source
        assert {url.split('/')[2] for url in browsers.requested(chrome)} == {f'127.0.0.1:{port}'}
        assert browsers.complaints(chrome) == []
        with pytest.raises(WebDriverException, match='TrustedHTML'):
            chrome.execute_script('document.body.innerHTML = "<b>x</b>"')
