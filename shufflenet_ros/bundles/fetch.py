# SPDX-License-Identifier: Apache-2.0
"""Download a file of the catalog into this machine's cache. It is checked first, and is whole or absent.

Python's ssl checks certificates (SSL_CERT_FILE, SSL_CERT_DIR). Proxies come from https_proxy.
"""

import http.client
import io
import ssl
import time
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urljoin, urlsplit
from urllib.request import HTTPSHandler, OpenerDirector, ProxyHandler, Request

from shufflenet_ros.bundles.catalog import Download, cache_directory
from shufflenet_ros.bundles.errors import ModelError
from shufflenet_ros.bundles.files import read_regular
from shufflenet_ros.bundles.index import IndexEntry, read_index, write_entries
from shufflenet_ros.core.files import locked, write_whole, writing

MAX_REDIRECTS = 3


@dataclass(frozen=True)
class FetchedFile:
    """A checked file in the cache; `fresh` if this call fetched it."""

    path: Path
    entry: IndexEntry
    fresh: bool


def fetch(download: Download, cache: Path | None = None, *, stall_s: float = 30.0, total_s: float = 1800.0,
          report: Callable[[str], None] = lambda text: None) -> FetchedFile:
    """Fetch a file, or find it in the cache. Two processes at once fetch it once.

    The first fetch pins sha256 and size in the cache's index; other bytes are rejected from then on. However
    the process ends, the cache has the whole checked file, or doesn't have it.

    Args:
        cache: instead of `$XDG_CACHE_HOME/shufflenet_ros`.
        stall_s: seconds to connect, and between two pieces of data.
        total_s: seconds for the whole transfer, even if data keeps trickling in.
        report: gets one line before anything that takes time.

    Raises:
        ModelError, WriteError: a one-line message for everything that can go wrong.
    """
    folder = cache_directory(download, cache)
    path = folder / download.file
    with writing(folder, 'free some space there, or choose another cache with XDG_CACHE_HOME'):
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / f'.{path.name}.lock', on_wait=lambda: report('waiting for another process')):
            pin = read_index(folder).get(download.name)
            entry = None
            with suppress(ModelError):  # missing or wrong
                entry = download.check_bytes(read_regular(path, download.max_size), pin)
            fresh = entry is None
            if entry is None:
                report(f'fetching {download.url}')
                data = _receive(download, stall_s, total_s)
                data = _unzip(download, data) if download.zipped else data
                entry = download.check_bytes(data, pin)
                write_whole(path, data)
            if entry != pin:
                with locked(folder / '.index.lock'):
                    write_entries(folder, read_index(folder) | {download.name: entry})
    return FetchedFile(path, entry, fresh)


def _unzip(download: Download, archive: bytes) -> bytes:
    """The only .pth in a zip. Names and sizes that the zip announces are not trusted."""
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as file:
            members = [member for member in file.infolist() if member.filename.endswith('.pth')]
            if len(members) != 1:
                raise download.rejected('exactly one .pth in the zip', str(len(members)))
            data = file.open(members[0]).read(download.max_size + 1)
    except ModelError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError) as error:
        raise download.rejected('a zip with a .pth', f'a damaged one ({error})') from error
    if len(data) > download.max_size:
        raise download.rejected(f'at most {download.max_size} bytes in the zip', 'more')
    return data


def _receive(download: Download, stall_s: float, total_s: float) -> bytes:
    """What the server sends, at most max_size bytes."""
    end, limit = time.monotonic() + total_s, download.max_size
    try:
        with _open(download, stall_s, end) as response:
            announced = response.length
            if announced is not None and (announced > limit or download.size not in (None, announced)):
                raise download.rejected(f'{download.size or f"at most {limit}"} bytes', str(announced))
            data = response.read(limit + 1)
        if not (announced or 0) <= len(data) <= limit:
            raise download.rejected(f'{announced or f"at most {limit}"} bytes', str(len(data)))
        return data
    except ModelError:
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:
        cause = error.reason if isinstance(error, URLError) else error
        expected, got = 'a response', ' '.join(str(cause).split()) or repr(cause)
        remedy = 'check the network and run the command again'
        if time.monotonic() >= end:
            expected, got = f'the whole file within {total_s:g} s', 'less'
        elif isinstance(cause, TimeoutError):
            expected, got = f'data within {stall_s:g} s', 'none'
        elif isinstance(cause, ssl.SSLCertVerificationError):
            expected, got = 'a certificate of a known authority', cause.verify_message
            remedy = 'if your network has its own authority, name its file in SSL_CERT_FILE'
        raise download.rejected(expected, got, remedy) from error


def _open(download: Download, stall_s: float, end: float) -> http.client.HTTPResponse:
    """The response with status 200 that the address or its redirects lead to."""
    class DeadlineSocket(ssl.SSLSocket):
        def recv_into(self, *args: Any, **options: Any) -> int:
            if (left_s := end - time.monotonic()) <= 0:
                raise TimeoutError  # a socket's own timeout starts again with each byte
            self.settimeout(min(stall_s, left_s))
            return super().recv_into(*args, **options)

    context = ssl.create_default_context()
    context.sslsocket_class = DeadlineSocket
    opener = OpenerDirector()  # without urllib's own redirects, which may lead to http
    opener.add_handler(ProxyHandler())
    opener.add_handler(HTTPSHandler(context=context))
    url = download.url
    for _ in range(MAX_REDIRECTS + 1):
        if urlsplit(url).scheme != 'https':
            raise download.rejected('https, also after a redirect', url[:200])
        request = Request(url, headers={'User-Agent': 'shufflenet_ros'})
        response: http.client.HTTPResponse = opener.open(request, timeout=stall_s)
        if response.status == 200:
            return response
        response.close()
        location = response.headers.get('Location') if 300 < response.status < 309 else None
        if not location:
            raise download.rejected('status 200', f'{response.status} {response.reason}'.strip())
        url = urljoin(url, location)
    raise download.rejected(f'at most {MAX_REDIRECTS} redirects', 'more')
