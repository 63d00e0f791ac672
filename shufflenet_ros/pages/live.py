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
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import asdict

from aiohttp import web  # in apt as python3-aiohttp, on Ubuntu 22.04 in version 3.8
from aiohttp.http_exceptions import HttpProcessingError

from shufflenet_ros.core.errors import ShuffleNetError
from shufflenet_ros.core.node_view import ViewSource
from shufflenet_ros.pages.page import render

MAX_CLIENTS, MAX_REQUEST_BYTES = 8, 64
PATIENCE_S = 20.0  # with a browser that neither reads nor answers; a slow link may need some for an image
PERIOD_S = 0.1  # at most 10 images per second and camera
UNCHANGED_S = 0.5  # without a new image the page gets a message that often
_INLINE = re.compile('<(style|script)>(.*?)</', re.DOTALL)
_POLICY = ("default-src 'none'; img-src blob: data:; connect-src 'self'; base-uri 'none'; "
           "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'")
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
# A request that is not HTTP gets 400, without the traceback that aiohttp would log.
logging.getLogger('aiohttp.server').addFilter(
    lambda record: not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError)))


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


def _cut(client: asyncio.Transport | None) -> None:
    """End a connection at once, whatever is still to be sent."""
    if client:
        client.abort()


class LivePage:
    """The page and its socket at one address."""

    def __init__(self, source: ViewSource, host: str, port: int, token: str) -> None:
        """Say where to listen, and the token that a browser must have ('' for none)."""
        self._source, self._host, self._port, self._token = source, host, port, token
        self._cookie = f'shufflenet_watch_{port}'  # browsers share cookies among the ports of a host
        self._clients: set[asyncio.Transport | None] = set()
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
            except (OSError, UnicodeError) as error:  # UnicodeError: not a name that DNS could have
                cause = getattr(error, 'strerror', error)
                raise ServeError(f'{self._host!r} port {self._port}: {cause}; choose another --port or '
                                 '--host') from error
            ready(runner.addresses[0][1])
            await stop.wait()
        finally:
            for client in self._clients:
                _cut(client)
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
        socket = web.WebSocketResponse(heartbeat=PATIENCE_S, max_msg_size=MAX_REQUEST_BYTES, compress=False)
        client = request.transport
        await socket.prepare(request)
        if len(self._clients) >= MAX_CLIENTS:
            await socket.close(code=1013, message=f'{MAX_CLIENTS} pages are open: close one'.encode())
            return socket
        self._clients.add(client)
        self._source.set_active(True)
        try:
            await self._answer(socket)
        except (ConnectionError, asyncio.TimeoutError):  # the browser has gone, or hangs
            _cut(client)
        finally:
            self._clients.discard(client)
            self._source.set_active(bool(self._clients))
        return socket

    async def _answer(self, socket: web.WebSocketResponse) -> None:
        """For each request send a message, at most one every PERIOD_S."""
        loop, shown = asyncio.get_running_loop(), dict[str, int]()
        due = patience = 0.0
        async for _ in socket:
            await asyncio.sleep(due - loop.time())
            until = loop.time() + patience
            while not (images := await loop.run_in_executor(None, self._new_images, shown)):
                if loop.time() >= until:
                    break
                await asyncio.sleep(PERIOD_S)
            due, patience = loop.time() + PERIOD_S, UNCHANGED_S
            sizes = {camera: len(jpeg) for camera, jpeg in images.items()}
            head = json.dumps({'view': asdict(self._source.view()), 'sizes': sizes}).encode()
            message = b''.join([len(head).to_bytes(4, 'big'), head, *images.values()])
            await asyncio.wait_for(socket.send_bytes(message), PATIENCE_S)

    def _new_images(self, shown: dict[str, int]) -> dict[str, bytes]:
        """JPEGs by camera; their numbers are noted in `shown`."""
        images = {}
        for camera in self._source.view().cameras:
            if found := self._source.image(camera.name, shown.get(camera.name, 0)):
                shown[camera.name], images[camera.name] = found
        return images
