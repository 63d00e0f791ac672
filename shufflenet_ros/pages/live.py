# SPDX-License-Identifier: Apache-2.0
"""Serves the page of `watch`, and a WebSocket with the node's view as JSON and new images as JPEG.

The page asks for the next message when it has shown the last one. So a slow link gets fewer images, not older
ones.
"""

import asyncio
import base64
import hashlib
import hmac
import ipaddress
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import asdict

from aiohttp import web  # in apt as python3-aiohttp, on Ubuntu 22.04 in version 3.8

from shufflenet_ros.core.errors import ShuffleNetError
from shufflenet_ros.core.node_view import ViewSource
from shufflenet_ros.pages.page import render

MAX_CLIENTS, MAX_REQUEST_BYTES, HEARTBEAT_S = 8, 64, 5.0
UNCHANGED_S = 0.5  # without a new image the page gets a message that often
_INLINE = re.compile('<(style|script)>(.*?)</', re.DOTALL)
_POLICY = ("default-src 'none'; img-src blob: data:; connect-src 'self'; base-uri 'none'; "
           "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'")
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ServeError(ShuffleNetError):
    """The address cannot be used; the message says why and what to choose instead."""


def is_local(host: str) -> bool:
    """Whether only this machine reaches the address."""
    ip = _ip(host)
    return host == 'localhost' or ip is not None and ip.is_loopback


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


class LivePage:
    """The page and its socket at one address."""

    def __init__(self, source: ViewSource, host: str, port: int, token: str, rate_hz: float) -> None:
        """Say where to listen, the token that a browser must have ('' for none), and the images a second."""
        self._source, self._host, self._port, self._token = source, host, port, token
        self._period = 1.0 / rate_hz
        self._cookie = f'shufflenet_watch_{port}'  # browsers share cookies among the ports of a host
        self._sockets: set[web.WebSocketResponse] = set()
        self._html = render('watch.html')
        hashes = {kind: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
                  for kind, text in _INLINE.findall(self._html)}
        self._headers = {
            'Content-Security-Policy': '; '.join(
                [_POLICY, *(f"{kind}-src 'sha256-{value}'" for kind, value in hashes.items())]),
            'Referrer-Policy': 'no-referrer', 'X-Content-Type-Options': 'nosniff',
            'Cache-Control': 'no-store', 'Server': 'shufflenet-ros',
            'Cross-Origin-Resource-Policy': 'same-origin'}

    def run(self, ready: Callable[[int], object], on_stop: Callable[[Callable[[], object]], object]) -> None:
        """Serve until the function is called that on_stop gets; ready(port) says that the port is open.

        Raises:
            ServeError: the address cannot be used.
        """
        asyncio.run(self._serve(ready, on_stop))

    async def _serve(self, ready: Callable[[int], object],
                     on_stop: Callable[[Callable[[], object]], object]) -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        on_stop(lambda: loop.call_soon_threadsafe(stop.set))
        app = web.Application(middlewares=[self._guard])
        app.add_routes([web.get('/', self._page), web.get('/live', self._live)])
        app.on_response_prepare.append(self._add_headers)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            try:
                await web.TCPSite(runner, self._host, self._port).start()
            except OSError as error:
                raise ServeError(f'{self._host} port {self._port}: {error.strerror}; choose another --port '
                                 'or --host') from error
            ready(runner.addresses[0][1])
            await stop.wait()
            for socket in list(self._sockets):
                await socket.close()
        finally:
            await runner.cleanup()

    def _allows(self, request: web.Request) -> bool:
        """Whether to answer. Another site's page has its own Origin, or a name that leads here as Host."""
        origin, host = request.headers.get('Origin'), request.host
        if origin is not None and origin.partition('://')[2] != host:
            return False
        if not self._token:
            name = re.sub(r':\d*$', '', host).strip('[]')
            return name in ('localhost', self._host) or _ip(name) is not None
        given = request.query.get('token', request.cookies.get(self._cookie, ''))
        return hmac.compare_digest(given.encode(errors='replace'), self._token.encode())

    @web.middleware
    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        return await handler(request) if self._allows(request) else web.Response(status=403)

    async def _add_headers(self, _request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(self._headers)

    async def _page(self, request: web.Request) -> web.Response:
        response = web.Response(text=self._html, content_type='text/html')
        if self._token and 'token' in request.query:  # the page drops it from its address
            response.set_cookie(self._cookie, self._token, httponly=True, samesite='Strict')
        return response

    async def _live(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(heartbeat=HEARTBEAT_S, max_msg_size=MAX_REQUEST_BYTES, compress=False)
        await socket.prepare(request)
        if len(self._sockets) >= MAX_CLIENTS:
            await socket.close(code=1013, message=f'{MAX_CLIENTS} pages are open: close one'.encode())
            return socket
        self._sockets.add(socket)
        self._source.set_active(True)
        try:
            await self._answer(socket)
        except ConnectionError:
            pass  # the browser has gone
        finally:
            self._sockets.discard(socket)
            self._source.set_active(bool(self._sockets))
        return socket

    async def _answer(self, socket: web.WebSocketResponse) -> None:
        """For each request send a message, at most rate_hz times a second."""
        loop, shown = asyncio.get_running_loop(), dict[str, int]()
        due = patience = 0.0
        async for _ in socket:
            await asyncio.sleep(due - loop.time())
            until = loop.time() + patience
            while not (images := await loop.run_in_executor(None, self._new_images, shown)):
                if loop.time() >= until:
                    break
                await asyncio.sleep(self._period)
            due, patience = loop.time() + self._period, UNCHANGED_S
            sizes = {camera: len(jpeg) for camera, jpeg in images.items()}
            head = json.dumps({'view': asdict(self._source.view()), 'sizes': sizes}).encode()
            await socket.send_bytes(b''.join([len(head).to_bytes(4, 'big'), head, *images.values()]))

    def _new_images(self, shown: dict[str, int]) -> dict[str, bytes]:
        """JPEGs by camera; their numbers are noted in `shown`."""
        images = {}
        for camera in self._source.view().cameras:
            if found := self._source.image(camera.name, shown.get(camera.name, 0)):
                shown[camera.name], images[camera.name] = found
        return images
