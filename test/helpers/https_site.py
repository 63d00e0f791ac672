# SPDX-License-Identifier: Apache-2.0
"""A local https site that acts as good, slow, broken and hostile servers, and as a proxy to itself."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Page:
    """The response of one address.

    Attributes:
        announce: whether there is a Content-Length; int: a wrong one.
        cut: bytes after which the connection ends, although more were announced.
        stall: whether it stays open then, without data.
        pause_s: between two blocks of `block` bytes.
        endless: the data again and again.
        header_pause_s: between two bytes of a header that never ends.
    """

    data: bytes = b''
    status: int = 200
    location: str = ''
    announce: bool | int = True
    cut: int | None = None
    stall: bool = False
    pause_s: float = 0.0
    block: int = 16384
    endless: bool = False
    header_pause_s: float = 0.0

    def blocks(self) -> Iterator[bytes]:
        end = len(self.data) if self.cut is None else self.cut
        while True:
            yield from (self.data[at:min(at + self.block, end)] for at in range(0, end, self.block))
            if not self.endless:
                return


@dataclass
class Site:
    """Pages by path, changeable at any time; counts requests and bytes."""

    ca: Path
    port: int = 0
    pages: dict[str, Page] = field(default_factory=dict)
    requested: list[str] = field(default_factory=list)
    sent: int = 0
    closing: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str) -> str:
        return f'https://localhost:{self.port}{path}'


class _Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    site: Site
    tls: ssl.SSLContext

    def setup(self) -> None:
        self.request.settimeout(10)
        if self.request.recv(1, socket.MSG_PEEK) == b'C':  # CONNECT: as a proxy that leads every host here
            head = b''
            while not head.endswith(b'\r\n\r\n'):
                head += self.request.recv(1)
            self.request.sendall(b'HTTP/1.1 200 OK\r\n\r\n')
        self.request = self.tls.wrap_socket(self.request, server_side=True)
        super().setup()

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.close_connection = True
        site, page = self.site, self.site.pages.get(self.path, Page(status=404))
        site.requested.append(self.path)
        self.send_response(page.status)
        if page.location:
            self.send_header('Location', page.location)
        if page.announce and not page.endless:
            length = len(page.data) if page.announce is True else page.announce
            self.send_header('Content-Length', str(length))
        self.send_header('Connection', 'close')
        if page.header_pause_s:
            self.flush_headers()
            self._send((bytes([byte]) for byte in b'X-Long: ' + b'x' * 60000), page.header_pause_s)
            return
        self.end_headers()
        self._send(page.blocks(), page.pause_s)
        if page.stall:
            site.closing.wait(20)

    def _send(self, blocks: Iterator[bytes], pause_s: float) -> None:
        for block in blocks:
            self.wfile.write(block)
            self.site.sent += len(block)
            if pause_s and self.site.closing.wait(pause_s):
                return


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Print nothing: the tests make clients disappear, even by SIGKILL."""


@contextmanager
def https_site(folder: Path, *names: str) -> Iterator[Site]:
    """A running site for `localhost` and other names; `site.ca` is its authority's certificate."""
    authority, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert('localhost', *names).configure_cert(tls)
    site = Site(folder / 'ca.pem')
    authority.cert_pem.write_to_path(str(site.ca))
    server = _Server(('127.0.0.1', 0), type('Handler', (_Handler,), {'site': site, 'tls': tls}))
    site.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.05}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        site.closing.set()
        server.shutdown()
        server.server_close()
        thread.join(10)
