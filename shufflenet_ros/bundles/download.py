"""Receive one file over https, from its first byte or from where an earlier attempt stopped."""

import hashlib
import http.client
import re
from urllib.parse import urljoin, urlsplit
from urllib.request import Request

from shufflenet_ros.bundles.errors import ModelError, mismatch
from shufflenet_ros.bundles.https import LIMITS, Deadline, Limits, network_error, opener
from shufflenet_ros.bundles.part import Part

BLOCK = 1 << 16
REDIRECTS = frozenset({301, 302, 303, 307, 308})
PARTIAL = re.compile(r'bytes (\d+)-\d+/(\d+|\*)')


def receive(url: str, part: Part, *, max_size: int, size: int | None = None,
            limits: Limits = LIMITS) -> str:
    """Complete a .part file and give the sha256 of all of it, in 64 hexadecimal digits.

    What a broken transfer left stays for the next attempt, which goes on from there if the server
    still has the same file. What is too large is thrown away.

    Args:
        max_size: most bytes that are taken, whatever the server announces.
        size: exact number of bytes, None where unknown.

    Raises:
        ModelError: whatever goes wrong, in one line; WriteError where the disk refuses.
    """
    with Deadline(limits.total_s) as deadline:
        try:
            return _Transfer(url, part, max_size, size, limits, deadline).run()
        except (OSError, http.client.HTTPException, ValueError) as error:
            if isinstance(error, ModelError):
                raise
            raise deadline.error(url) or network_error(url, error, limits) from error


class _Transfer:
    """One attempt at one file."""

    def __init__(self, url: str, part: Part, max_size: int, size: int | None, limits: Limits,
                 deadline: Deadline) -> None:
        self._url, self._part, self._max_size, self._size = url, part, max_size, size
        self._limits, self._deadline = limits, deadline
        self._opener = opener(deadline)

    def run(self) -> str:
        """See `receive`."""
        have = self._part.size
        if have and have == self._part.note.length:
            return self._part.sha256()
        response = self._ask(have)
        if response.status == 206 and not self._goes_on(response, have) or response.status == 416:
            response.close()
            self._part.discard()
            have, response = 0, self._ask(0)
        with response:
            if response.status == 200:
                have = 0
            elif response.status != 206 or not have:
                raise mismatch(self._url, 'status 200', f'{response.status} {response.reason}'.strip(),
                               'try again later; if it stays so, the file has moved')
            return self._take(response, have)

    def _ask(self, have: int) -> http.client.HTTPResponse:
        """The answer that no redirect leads away from."""
        headers = {'User-Agent': 'shufflenet_ros'}
        if have and self._part.note.validator:
            headers |= {'Range': f'bytes={have}-', 'If-Range': self._part.note.validator}
        url = self._url
        for _ in range(self._limits.redirects + 1):
            if urlsplit(url).scheme != 'https':
                raise mismatch(self._url, 'https, also after a redirect', url[:200],
                               'nothing is fetched without encryption; tell the publisher')
            response = self._opener.open(Request(url, headers=headers), timeout=self._limits.stall_s)
            assert isinstance(response, http.client.HTTPResponse)
            if response.status not in REDIRECTS:
                return response
            location = response.headers.get('Location', '')
            response.close()
            if not location:
                raise mismatch(self._url, 'a redirect with a Location', f'{response.status} without one',
                               'try again later')
            url = urljoin(url, location)
        raise mismatch(self._url, f'at most {self._limits.redirects} redirects', 'more',
                       'try again later; if it stays so, the file has moved')

    def _goes_on(self, response: http.client.HTTPResponse, have: int) -> bool:
        """Whether a 206 continues exactly what is there."""
        match = PARTIAL.fullmatch(response.headers.get('Content-Range', ''))
        if not match or int(match[1]) != have:
            return False
        length = self._part.note.length
        return length is None or match[2] == '*' or int(match[2]) == length

    def _take(self, response: http.client.HTTPResponse, have: int) -> str:
        announced = None if response.length is None else have + response.length
        self._check_announced(announced)
        if not have:
            etag = response.headers.get('ETag', '')
            # A weak tag promises the same meaning, not the same bytes.
            strong = etag if etag and not etag.startswith('W/') else response.headers.get('Last-Modified', '')
            self._part.begin(strong, announced)
        digest = self._part.digest() if have else hashlib.sha256()
        received = have
        with self._part.appended() as write:
            # read1, because read would wait for a whole block of a server that trickles.
            while block := response.read1(BLOCK):
                received += len(block)
                if received > self._max_size:
                    self._part.discard()
                    raise self._too_large('more')
                write(block)
                digest.update(block)
        if late := self._deadline.error(self._url):
            raise late
        if announced is not None and received != announced:
            raise mismatch(self._url, f'{announced} bytes', str(received),
                           'the transfer broke off; run the command again: it goes on from there')
        return digest.hexdigest()

    def _check_announced(self, announced: int | None) -> None:
        if announced is None:
            return
        if announced > self._max_size:
            raise self._too_large(str(announced))
        if self._size is not None and announced != self._size:
            raise mismatch(self._url, f'{self._size} bytes', str(announced),
                           'this is not the file that was published')

    def _too_large(self, got: str) -> ModelError:
        return mismatch(self._url, f'at most {self._max_size} bytes', got,
                        'nothing was kept; this is not the file that was published')
