"""A local https site that answers as good, slow, broken and hostile servers do, and a proxy before it."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import trustme

BLOCK = 16384


@dataclass(frozen=True)
class Page:
    """How one address answers.

    Attributes:
        etag: '' sends none.
        ranges: whether Range is honoured.
        cut: bytes after which the connection ends, although more were announced.
        stall: bytes after which nothing comes any more.
        pause_s: between two blocks of `block` bytes.
        announce: whether there is a Content-Length; int: a false one.
        endless: the data again and again.
        head_pause_s: between two bytes of a header that never ends.
    """

    data: bytes = b''
    status: int = 200
    etag: str = '"1"'
    location: str = ''
    ranges: bool = True
    cut: int | None = None
    stall: int | None = None
    pause_s: float = 0.0
    block: int = BLOCK
    announce: bool | int = True
    endless: bool = False
    head_pause_s: float = 0.0


@dataclass
class Site:
    """Pages by path, changeable at any time; counts what was asked and what was sent."""

    ca: Path
    port: int = 0
    pages: dict[str, Page] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    sent: int = 0
    closing: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str) -> str:
        return f'https://localhost:{self.port}{path}'

    def ranges(self) -> list[str]:
        """The Range header of each request, '' where there was none."""
        return [asked for _, asked in self.asked]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    site: Site

    def setup(self) -> None:
        self.request.settimeout(10)
        self.request = self.server.tls.wrap_socket(self.request, server_side=True)  # type: ignore[attr-defined]
        super().setup()

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self.close_connection = True
        site, page = self.site, self.site.pages.get(self.path, Page(status=404))
        site.asked.append((self.path, self.headers.get('Range', '')))
        first = self._first_byte(page)
        self.send_response(206 if first else page.status)
        if page.location:
            self.send_header('Location', page.location)
        if page.etag:
            self.send_header('ETag', page.etag)
        if first:
            self.send_header('Content-Range', f'bytes {first}-{len(page.data) - 1}/{len(page.data)}')
        if page.announce and not page.endless:
            length = len(page.data) - first if page.announce is True else page.announce
            self.send_header('Content-Length', str(length))
        self.send_header('Connection', 'close')
        if page.head_pause_s:
            self.flush_headers()
            self._drip(b'X-Long: ' + b'x' * 60000, page.head_pause_s)
            return
        self.end_headers()
        self._body(page, first)

    def _first_byte(self, page: Page) -> int:
        asked = self.headers.get('Range', '')
        if not asked or not page.ranges or self.headers.get('If-Range') != page.etag:
            return 0
        return int(asked.removeprefix('bytes=').removesuffix('-'))

    def _body(self, page: Page, first: int) -> None:
        at = first
        while at < len(page.data) or page.endless:
            block = page.data[at % len(page.data):][:page.block]
            for end in (page.cut, page.stall):
                if end is not None:
                    block = block[:max(0, end - at)]
            if not block:
                if page.stall is not None:
                    self.site.closing.wait(20)
                return
            self.wfile.write(block)
            at += len(block)
            self.site.sent += len(block)
            if page.pause_s and self.site.closing.wait(page.pause_s):
                return

    def _drip(self, data: bytes, pause_s: float) -> None:
        for byte in data:
            self.wfile.write(bytes([byte]))
            if self.site.closing.wait(pause_s):
                return


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    tls: ssl.SSLContext

    def handle_error(self, *_: object) -> None:
        """A client that goes away, also by SIGKILL, is what the tests are about."""


@contextmanager
def https_site(folder: Path, *names: str) -> Iterator[Site]:
    """A running site for `localhost` and other names, its authority's certificate in `site.ca`."""
    authority = trustme.CA()
    site = Site(folder / 'ca.pem')
    authority.cert_pem.write_to_path(str(site.ca))
    server = _Server(('127.0.0.1', 0), type('Handler', (_Handler,), {'site': site}))
    server.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert('localhost', *names).configure_cert(server.tls)
    site.port = server.server_address[1]
    with _serving(server):
        yield site
        site.closing.set()


class _Proxy(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_CONNECT(self) -> None:
        """Whoever is asked for, the site is who answers."""
        with socket.create_connection(('127.0.0.1', self.server.to_port), 10) as there:  # type: ignore[attr-defined]
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=_pump, args=(there, self.connection), daemon=True)
            back.start()
            _pump(self.connection, there)
            back.join(10)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(BLOCK):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


@contextmanager
def proxy_to(site: Site) -> Iterator[str]:
    """The address of a proxy, as https_proxy takes it, that leads every host to the site."""
    server = ThreadingHTTPServer(('127.0.0.1', 0), _Proxy)
    server.daemon_threads = True
    server.to_port = site.port  # type: ignore[attr-defined]
    with _serving(server):
        yield f'http://127.0.0.1:{server.server_address[1]}'


@contextmanager
def _serving(server: ThreadingHTTPServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.05}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
