"""Https under limits: for a connection that stalls, and for one that trickles for ever.

Standard library only. Certificates are checked against the authorities that Python's ssl knows, or
those that the environment variables SSL_CERT_FILE and SSL_CERT_DIR name; proxies come from https_proxy.
"""

import http.client
import socket
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.error import URLError
from urllib.request import HTTPSHandler, OpenerDirector, ProxyHandler, Request

from shufflenet_ros.bundles.errors import ModelError, mismatch


@dataclass(frozen=True)
class Limits:
    """What a transfer may take.

    Attributes:
        stall_s: for a connection, a handshake and between two pieces of data, in seconds.
        total_s: for the whole transfer, in seconds, however steadily a server trickles.
        redirects: how many are followed, each from https to https.
    """

    stall_s: float = 30.0
    total_s: float = 1800.0
    redirects: int = 3


LIMITS = Limits()
"""What a download over a slow but living line needs."""


class Deadline:
    """Ends the connection at hand when the time is over, also one that trickles and so never stalls."""

    def __init__(self, seconds: float) -> None:
        self.passed = False
        self._seconds = seconds
        self._socket: socket.socket | None = None
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def __enter__(self) -> 'Deadline':
        self._timer.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._timer.cancel()

    def watch(self, connected: socket.socket) -> None:
        """End this socket when the time is over; the one before is done with."""
        self._socket = connected
        if self.passed:
            self._end()

    def _end(self) -> None:
        self.passed = True
        if self._socket:
            with suppress(OSError):
                # Not SSLSocket's own, which would take the TLS state away from the reading thread.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def error(self, url: str) -> ModelError | None:
        """What to say once the time is over."""
        if not self.passed:
            return None
        return mismatch(url, f'the whole file within {self._seconds:g} s', 'less',
                        'run the command again: it goes on from there')


class _Https(HTTPSHandler):
    """urllib's https, with its sockets under a deadline."""

    def __init__(self, deadline: Deadline) -> None:
        super().__init__()
        self._deadline = deadline
        self._tls = ssl.create_default_context()

    def https_open(self, req: Request) -> http.client.HTTPResponse:
        return self.do_open(self._connection, req)

    def _connection(self, host: str, **options: Any) -> http.client.HTTPSConnection:
        deadline = self._deadline

        class Connection(http.client.HTTPSConnection):
            def connect(self) -> None:
                super().connect()
                deadline.watch(self.sock)

        return Connection(host, context=self._tls, **options)


def opener(deadline: Deadline) -> OpenerDirector:
    """For https alone; a redirect or an error status comes back as a response like any other."""
    made = OpenerDirector()
    made.add_handler(ProxyHandler())
    made.add_handler(_Https(deadline))
    return made


def network_error(url: str, error: Exception, limits: Limits) -> ModelError:
    """What to say of a transfer that failed."""
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, TimeoutError):
        return mismatch(url, f'data within {limits.stall_s:g} s', 'none',
                        'check the network and run the command again: it goes on from there')
    if isinstance(cause, ssl.SSLCertVerificationError):
        return mismatch(url, 'a certificate of a known authority', cause.verify_message,
                        'if your network has its own authority, name its file in SSL_CERT_FILE')
    text = ' '.join(str(cause).split()) or type(cause).__name__
    return ModelError(f'{url}: cannot be fetched: {text}; check the network and run the command again')
