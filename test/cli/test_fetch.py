# SPDX-License-Identifier: Apache-2.0
"""Downloads from a local https site with a test certificate authority."""

from __future__ import annotations

import hashlib
import io
import json
import random
import time
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip('trustme', reason='needs scripts/requirements/test.txt')
from fetching import start
from https_site import Page, Site, https_site

from shufflenet_ros.bundles.bundle import open_bundle
from shufflenet_ros.bundles.catalog import Download, cache_directory, find_download
from shufflenet_ros.bundles.errors import ModelError
from shufflenet_ros.bundles.fetch import FetchedFile, fetch
from shufflenet_ros.bundles.index import read_index
from shufflenet_ros.core.files import WriteError

DATA, OTHER = random.Random(1).randbytes(300_000), random.Random(2).randbytes(300_000)
SHA256, SHA1 = hashlib.sha256(DATA).hexdigest(), hashlib.sha1(DATA).hexdigest()
INT8 = 'shufflenet_v2_x1_0-imagenet-224-int8'


@pytest.fixture(scope='module')
def running(tmp_path_factory):
    with https_site(tmp_path_factory.mktemp('ca'), 'github.com', 'download.pytorch.org') as site:
        yield site


@pytest.fixture
def site(running, monkeypatch) -> Site:
    """The site without pages; clients know its authority as they know that of a company."""
    monkeypatch.setenv('SSL_CERT_FILE', str(running.ca))
    for name in ('https_proxy', 'HTTPS_PROXY', 'all_proxy', 'ALL_PROXY', 'no_proxy', 'NO_PROXY'):
        monkeypatch.delenv(name, raising=False)
    running.pages.clear()
    running.requested.clear()
    running.sent = 0
    return running


@pytest.fixture
def wanted(site) -> Download:
    """A state dict with a sha256 prefix, like torchvision's."""
    site.pages['/f.pth'] = Page(DATA)
    return Download(
        name='net-somebody', url=site.url('/f.pth'), file='f.pth', check_kind='sha256_prefix',
        check=SHA256[:8], max_size=400_000, network='shufflenet_v2_x1_0', layout='torchvision_v2', resize=256,
        top1_error=30.0, top5_error=10.0, source='somebody', license='theirs', terms='theirs')


def zipped(*members: tuple[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return file.getvalue()


def as_zip(site: Site, wanted: Download, data: bytes) -> Download:
    site.pages['/f.pth.zip'] = Page(data)
    return replace(wanted, url=site.url('/f.pth.zip'), check_kind='sha1_in_zip', check=SHA1)


def get(download: Download, cache: Path, stall_s: float = 10, total_s: float = 60) -> FetchedFile:
    return fetch(download, cache, stall_s=stall_s, total_s=total_s)


def absent_or_valid(download: Download, cache: Path, data: bytes = DATA) -> bool:
    """Whether the cache has the whole file; a part of it is a failure, and so is a wrong index."""
    folder = cache_directory(download, cache)
    path, index = folder / download.file, folder / 'index.json'
    if index.exists():
        entry = json.loads(index.read_text())['models'][download.name]
        assert (entry['sha256'], entry['size']) == (hashlib.sha256(data).hexdigest(), len(data))
    assert not path.exists() or path.read_bytes() == data
    return path.exists()


def check_rejected(download: Download, cache: Path, cause: str, **limits: float) -> None:
    """The fetch fails with one line that has the cause and a remedy, and nothing is kept."""
    with pytest.raises(ModelError) as error:
        get(download, cache, **limits)
    text = str(error.value)
    assert cause in text and '\n' not in text and '; ' in text, text
    assert not absent_or_valid(download, cache)


def test_a_fetch_is_kept_pinned_and_not_repeated(site, wanted, tmp_path):
    first = get(wanted, tmp_path)
    assert first.path.read_bytes() == DATA and first.fresh
    again = get(wanted, tmp_path)
    assert not again.fresh and again.path == first.path and len(site.requested) == 1
    pin = read_index(tmp_path / 'weights')[wanted.name]
    assert (pin.sha256, pin.size, pin.check) == (SHA256, len(DATA), 'sha256_prefix')
    left = {path.name for path in first.path.parent.iterdir() if path.suffix != '.lock'}
    assert left == {'f.pth', 'index.json'}


def test_the_pth_of_a_zip_is_kept(site, wanted, tmp_path):
    download = as_zip(site, wanted, zipped(('../../evil/f.pth', DATA), ('readme', b'x')))
    assert get(download, tmp_path).path == tmp_path / 'weights' / 'f.pth'
    assert absent_or_valid(download, tmp_path)
    assert {path.name for path in tmp_path.rglob('*') if path.suffix not in ('.lock', '.json')} == {
        'weights', 'f.pth'}


def test_a_damaged_or_unlisted_file_is_checked_again(site, wanted, tmp_path):
    """Unlisted: a process was killed before it wrote the index."""
    path = get(wanted, tmp_path).path
    path.write_bytes(DATA[:-1])
    assert get(wanted, tmp_path).fresh and absent_or_valid(wanted, tmp_path)
    (path.parent / 'index.json').unlink()
    assert not get(wanted, tmp_path).fresh
    assert read_index(path.parent)[wanted.name].sha256 == SHA256
    (path.parent / 'index.json').unlink()
    path.write_bytes(OTHER)
    assert get(wanted, tmp_path).fresh and absent_or_valid(wanted, tmp_path)


def test_changed_bytes_are_rejected_once_pinned(site, wanted, tmp_path):
    """Even if they match the published hash prefix."""
    get(wanted, tmp_path).path.unlink()
    site.pages['/f.pth'] = Page(OTHER)
    loose = replace(wanted, check=hashlib.sha256(OTHER).hexdigest()[:8])
    check_rejected(loose, tmp_path, f'expected sha256 {SHA256} and 300000 bytes, as at its first fetch')
    site.pages['/f.pth'] = Page(DATA)
    assert get(wanted, tmp_path).fresh


BAD_PAGES = {
    'not there': (Page(status=404), 'expected status 200, got 404'),
    'an error': (Page(b'x', status=503), 'expected status 200, got 503'),
    'truncated': (Page(DATA, cut=100_000), 'expected 300000 bytes, got 100000'),
    'announced too short': (Page(DATA, announce=1000), f'expected a sha256 that begins with {SHA256[:8]}'),
    'stalled': (Page(DATA, cut=100_000, stall=True), 'expected data within 0.4 s'),
    'never a header': (Page(DATA, header_pause_s=0.05), 'expected the whole file within 1 s'),
    'trickling': (Page(DATA, pause_s=0.1, block=1), 'expected the whole file within 1 s'),
    'endless': (Page(DATA, endless=True), 'expected at most 400000 bytes, got 400001'),
    'too large': (Page(DATA * 2), 'expected at most 400000 bytes, got 600000'),
    'unannounced too large': (Page(DATA * 2, announce=False), 'expected at most 400000 bytes, got 400001'),
    'wrong bytes': (Page(OTHER), f'expected a sha256 that begins with {SHA256[:8]}'),
    'empty': (Page(b''), f'expected a sha256 that begins with {SHA256[:8]}'),
    'a loop': (Page(status=302, location='/f.pth'), 'expected at most 3 redirects, got more'),
    'to http': (Page(status=301, location='http://localhost/f.pth'), 'got http://localhost/f.pth'),
    'to a file': (Page(status=301, location='file:///etc/passwd'), 'got file:///etc/passwd'),
    'to nowhere': (Page(status=307), 'expected status 200, got 307'),
    'to nonsense': (Page(status=302, location='https://['), 'expected a response, got Invalid IPv6'),
}


@pytest.mark.parametrize(('page', 'cause'), BAD_PAGES.values(), ids=BAD_PAGES)
def test_a_bad_response_is_rejected_and_not_in_the_way(page, cause, site, wanted, tmp_path):
    site.pages['/f.pth'] = page
    limits = {'within 1 s': {'total_s': 1.0}, 'within 0.4 s': {'stall_s': 0.4}}
    check_rejected(wanted, tmp_path, cause, **limits.get(cause[cause.find('within'):], {}))
    site.pages['/f.pth'] = Page(DATA)
    assert get(wanted, tmp_path).fresh


def test_another_size_than_published_is_rejected_unread(site, wanted, tmp_path):
    site.pages['/f.pth'] = Page(DATA, pause_s=0.01)
    check_rejected(replace(wanted, size=299_999), tmp_path, 'expected 299999 bytes, got 300000')
    assert site.sent < len(DATA)


@pytest.mark.parametrize('hops', [1, 3, 4])
def test_three_redirects_are_followed_and_no_more(hops, site, wanted, tmp_path):
    for hop in range(hops):
        site.pages[f'/{hop}'] = Page(status=302, location=f'/{hop + 1}' if hop + 1 < hops else wanted.url)
    download = replace(wanted, url=site.url('/0'))
    if hops > 3:
        check_rejected(download, tmp_path, 'expected at most 3 redirects, got more')
        assert '/f.pth' not in site.requested
    else:
        assert get(download, tmp_path).fresh


@pytest.mark.parametrize(('old', 'new', 'cause'), [
    ('https:', 'http:', 'expected https'), ('localhost', '127.0.0.1', 'known authority'),
    ('/f.pth', '/f.pth', 'expected a certificate of a known authority'),
    ('', 'https://localhost:1/f.pth', 'Connection refused'),
], ids=['http', 'certificate of another host', 'unknown authority', 'nobody listens'])
def test_an_untrusted_server_is_not_requested(old, new, cause, site, wanted, tmp_path, monkeypatch):
    if old == new:
        monkeypatch.delenv('SSL_CERT_FILE')
    check_rejected(replace(wanted, url=wanted.url.replace(old, new) if old else new), tmp_path, cause)
    assert not site.requested


def lying_bomb() -> bytes:
    """A zip of 50 MB that announces 1000 bytes."""
    data, size = zipped(('f.pth', bytes(50_000_000))), (50_000_000).to_bytes(4, 'little')
    assert data.count(size) == 2
    return data.replace(size, (1000).to_bytes(4, 'little'))


BAD_ZIPS = {
    'no zip': (DATA, 'expected a zip with a .pth'),
    'truncated': (zipped(('f.pth', DATA))[:-100], 'expected a zip with a .pth'),
    'damaged inside': (zipped(('f.pth', DATA)).replace(DATA[1000:1010], OTHER[:10]), 'a damaged one'),
    'encrypted': (zipped(('f.pth', DATA)).replace(b'PK\1\2\x14\3\x14\0\0\0', b'PK\1\2\x14\3\x14\0\1\0')
                  .replace(b'PK\3\4\x14\0\0\0', b'PK\3\4\x14\0\1\0'), 'a damaged one (File'),
    'no .pth': (zipped(('f.txt', DATA)), 'expected exactly one .pth in the zip, got 0'),
    'two .pth': (zipped(('f.pth', DATA), ('g.pth', b'x')), 'expected exactly one .pth in the zip, got 2'),
    'a bomb': (zipped(('f.pth', bytes(50_000_000))), 'expected at most 400000 bytes in the zip, got more'),
    'a bomb that lies': (lying_bomb(), 'a damaged one'),
    'wrong .pth': (zipped(('f.pth', OTHER)), f'expected sha1 {SHA1}'),
}


@pytest.mark.parametrize(('data', 'cause'), BAD_ZIPS.values(), ids=BAD_ZIPS)
def test_a_bad_zip_leaves_nothing(data, cause, site, wanted, tmp_path):
    check_rejected(as_zip(site, wanted, data), tmp_path, cause)
    assert not [path for path in (tmp_path / 'weights').iterdir() if path.suffix != '.lock']


def test_a_cache_that_cannot_be_written_is_one_line(site, wanted, tmp_path):
    outcome = tmp_path / 'outcome'
    remedy = 'free some space there, or choose another cache with XDG_CACHE_HOME'
    start(wanted, tmp_path, outcome, file_bytes=150_000).join(20)
    assert f'cannot be written: File too large; {remedy}' in outcome.read_text()
    assert not absent_or_valid(wanted, tmp_path)
    assert not list((tmp_path / 'weights').glob('.draft*'))
    assert get(wanted, tmp_path).fresh
    with pytest.raises(WriteError, match=f'cannot be written: Not a directory; {remedy}'):
        get(wanted, outcome)


def test_two_processes_fetch_once_and_two_files_at_once(site, wanted, tmp_path):
    site.pages['/f.pth'] = site.pages['/g.pth'] = Page(DATA, pause_s=0.02)
    other = replace(wanted, name='net-other', file='g.pth', url=site.url('/g.pth'))
    outcomes = [tmp_path / name for name in 'abc']
    for process in [start(*pair) for pair in zip((wanted, wanted, other), [tmp_path] * 3, outcomes)]:
        process.join(20)
    assert sorted(path.read_text() for path in outcomes) == ['fresh', 'fresh', 'there']
    assert sorted(site.requested) == ['/f.pth', '/g.pth'] and absent_or_valid(wanted, tmp_path)
    assert set(read_index(tmp_path / 'weights')) == {'net-somebody', 'net-other'}


CRUEL = {
    'good': Page(DATA, pause_s=0.002), 'good, unannounced': Page(DATA, pause_s=0.002, announce=False),
    'truncated': Page(DATA, cut=200_000, pause_s=0.002), 'stalled': Page(DATA, cut=200_000, stall=True),
    'endless': Page(DATA, endless=True), 'wrong bytes': Page(OTHER, pause_s=0.002),
    'a loop': Page(status=302, location='/f.pth'), 'to http': Page(status=302, location='http://localhost/'),
    'full disk': Page(DATA, pause_s=0.002), 'two processes': Page(DATA, pause_s=0.002),
}


@pytest.mark.parametrize('packed', [False, True], ids=['plain', 'zip'])
def test_killed_at_any_moment_the_cache_is_absent_or_valid(packed, site, wanted, tmp_path, capsys):
    """Fifty rounds over all cases, each in the folder of the last one; SIGKILL at a random moment."""
    random_, rounds = random.Random(3), 50
    path, sent = '/f.pth', {DATA: DATA, OTHER: OTHER, b'': b''}
    if packed:
        sent |= {data: zipped(('f.pth', data)) for data in (DATA, OTHER)}
        wanted, path = as_zip(site, wanted, sent[DATA]), '/f.pth.zip'
    site.pages[path] = Page(sent[DATA], pause_s=0.002)
    for whole in ('warm-up', 'timed'):
        begin = time.monotonic()
        start(wanted, tmp_path / whole).join(20)
        whole_s = time.monotonic() - begin
    ended: Counter[str] = Counter()
    for round_ in range(rounds):
        case, page = list(CRUEL.items())[round_ % len(CRUEL)]
        location = page.location.replace('/f.pth', path)
        site.pages[path] = replace(page, data=sent[page.data], location=location)
        limits = {'file_bytes': 150_000} if case == 'full disk' else {}
        running = [start(wanted, tmp_path, **limits) for _ in range(2 if case == 'two processes' else 1)]
        for process in running:
            process.join(random_.uniform(0.0, 1.3 * whole_s))
            ended['killed' if process.exitcode is None else 'ended'] += 1
            process.kill()
            process.join(10)
        here = absent_or_valid(wanted, tmp_path)
        ended['valid' if here else 'absent'] += 1
        if here:
            (cache_directory(wanted, tmp_path) / wanted.file).unlink()
    site.pages[path] = Page(sent[DATA])
    assert get(wanted, tmp_path).fresh and absent_or_valid(wanted, tmp_path)
    with capsys.disabled():
        print(f' {dict(ended)}', end='')
    assert ended['absent'] + ended['valid'] == rounds and ended['killed'] and ended['valid']


@pytest.fixture
def world(site, tmp_path, monkeypatch) -> Path:
    """Every public host is the local site, through a proxy as in a company; an empty cache."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.setenv('https_proxy', f'http://127.0.0.1:{site.port}')
    return tmp_path / 'shufflenet_ros'


def test_the_command_fetches_the_public_int8_model(site, world, shared_data, python, models):
    """The real command, catalog and bytes; only the hosts are local."""
    data = (shared_data / 'shufflenet_v2_x1_0_int8.onnx').read_bytes()
    site.pages['/onnx/models/raw/main/validated/vision/classification/shufflenet/model/'
               'shufflenet-v2-12-int8.onnx'] = Page(status=302, location='https://download.pytorch.org/moved')
    site.pages['/moved'] = Page(data)
    done = python('-m', 'shufflenet_ros.cli', 'models', 'fetch', INT8)
    assert done.returncode == 0, done.stderr
    path = world / 'models' / f'{INT8}.onnx'
    assert str(path) in done.stdout and f'model:={INT8}' in done.stdout and 'non-commercial' in done.stdout
    assert absent_or_valid(find_download(INT8), world, data)
    assert open_bundle(INT8).trusted and open_bundle(INT8).path == path
    again, = models('fetch', INT8, '--json').lines
    assert not again['fresh'] and len(site.requested) == 2


def test_the_command_reports_a_failure_in_one_line(site, world, models):
    site.pages['/models/shufflenetv2_x1-5666bf0f80.pth'] = Page(DATA)
    ran = models('fetch', 'shufflenet_v2_x1_0-torchvision', status=2)
    assert ran.out == '' and 'expected a sha256 that begins with 5666bf0f80' in ran.err.splitlines()[-1]
    assert not [path for path in world.rglob('*') if path.is_file() and path.suffix != '.lock']
    assert 'shufflenet_v1_x1_0_g8-pytorchcv' in models('fetch', 'resnet', status=2).err
