"""Downloads against a local https site whose certificate authority is the tests' own."""

from __future__ import annotations

import hashlib
import io
import json
import random
import subprocess
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip('trustme', reason='needs scripts/requirements/test.txt')
from fetching import PATIENT, absent_or_valid, start
from https_site import Page, Site, https_site, proxy_to

from shufflenet_ros.bundles.bundle import open_bundle
from shufflenet_ros.bundles.catalog import Download, find_download
from shufflenet_ros.bundles.errors import ModelError
from shufflenet_ros.bundles.index import read_index
from shufflenet_ros.cli import main as cli
from shufflenet_ros.cli.models_fetch import fetch, folder_of
from shufflenet_ros.core.files import WriteError

DATA = random.Random(1).randbytes(300_000)
OTHER = random.Random(2).randbytes(300_000)
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(scope='module')
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with https_site(tmp_path_factory.mktemp('ca'), 'github.com', 'download.pytorch.org') as site:
        yield site


@pytest.fixture
def site(running: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """The site with empty pages, and its authority known the way a company makes its own known."""
    monkeypatch.setenv('SSL_CERT_FILE', str(running.ca))
    for name in ('https_proxy', 'HTTPS_PROXY', 'all_proxy', 'ALL_PROXY', 'no_proxy', 'NO_PROXY'):
        monkeypatch.delenv(name, raising=False)
    running.pages.clear()
    running.asked.clear()
    return running


@pytest.fixture
def wanted(site: Site) -> Download:
    """A state dict with a sha256 prefix, as torchvision's."""
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
    return replace(wanted, url=site.url('/f.pth.zip'), check_kind='sha1_in_zip',
                   check=hashlib.sha1(DATA).hexdigest())


def refused(download: Download, cache: Path, cause: str, data: bytes = DATA) -> None:
    """The fetch says no in one line that has the cause, and nothing is kept."""
    with pytest.raises(ModelError) as error:
        fetch(download, cache, PATIENT)
    text = str(error.value)
    assert cause in text and '\n' not in text and '; ' in text, text
    assert not absent_or_valid(download, cache, data)


def test_a_fetch_is_kept_pinned_and_not_repeated(site: Site, wanted: Download, tmp_path: Path) -> None:
    first = fetch(wanted, tmp_path, PATIENT)
    assert first.path.read_bytes() == DATA and first.fresh
    again = fetch(wanted, tmp_path, PATIENT)
    assert not again.fresh and again.path == first.path and len(site.asked) == 1
    pin = read_index(tmp_path / 'weights')[wanted.name]
    assert (pin.sha256, pin.size, pin.check) == (SHA256, len(DATA), 'sha256_prefix')
    left = {path.name for path in first.path.parent.iterdir() if not path.name.startswith('.')}
    assert left == {'f.pth', 'index.json'}


def test_the_pth_of_a_zip_is_kept(site: Site, wanted: Download, tmp_path: Path) -> None:
    download = as_zip(site, wanted, zipped(('../../evil/f.pth', DATA), ('readme', b'x')))
    assert fetch(download, tmp_path, PATIENT).path == tmp_path / 'weights' / 'f.pth'
    assert absent_or_valid(download, tmp_path, DATA)
    assert {path.name for path in tmp_path.rglob('*') if path.suffix not in ('.lock', '.json')} == {
        'weights', 'f.pth'}


def test_a_file_that_was_kept_without_its_index_is_held_to_the_check(
    site: Site, wanted: Download, tmp_path: Path
) -> None:
    """As a process leaves it that was killed in between."""
    path = fetch(wanted, tmp_path, PATIENT).path
    (path.parent / 'index.json').unlink()
    assert not fetch(wanted, tmp_path, PATIENT).fresh
    assert read_index(path.parent)[wanted.name].sha256 == SHA256
    (path.parent / 'index.json').unlink()
    path.write_bytes(OTHER)
    assert fetch(wanted, tmp_path, PATIENT).fresh and absent_or_valid(wanted, tmp_path, DATA)


def test_a_damaged_file_is_fetched_again(site: Site, wanted: Download, tmp_path: Path) -> None:
    path = fetch(wanted, tmp_path, PATIENT).path
    path.write_bytes(DATA[:-1])
    assert fetch(wanted, tmp_path, PATIENT).fresh and absent_or_valid(wanted, tmp_path, DATA)


def test_changed_bytes_are_refused_once_pinned(site: Site, wanted: Download, tmp_path: Path) -> None:
    """Also where what is published of the file would let them pass."""
    fetch(wanted, tmp_path, PATIENT).path.unlink()
    site.pages['/f.pth'] = Page(OTHER, etag='"2"')
    loose = replace(wanted, check=hashlib.sha256(OTHER).hexdigest()[:8])
    refused(loose, tmp_path, f'expected sha256 {SHA256} and 300000 bytes, as at its first fetch')
    site.pages['/f.pth'] = Page(DATA)
    assert fetch(wanted, tmp_path, PATIENT).fresh


PAGES = {
    'not there': (Page(status=404), 'expected status 200, got 404'),
    'an error': (Page(b'x', status=503), 'expected status 200, got 503'),
    'truncated': (Page(DATA, cut=100_000), 'expected 300000 bytes, got 100000'),
    'announced too short': (Page(DATA, announce=1000), f'expected a sha256 that begins with {SHA256[:8]}'),
    'stalled': (Page(DATA, stall=100_000), 'expected data within 0.4 s'),
    'never a header': (Page(DATA, head_pause_s=0.05), 'expected the whole file within 1 s'),
    'trickling': (Page(DATA, pause_s=0.1, block=1), 'expected the whole file within 1 s'),
    'endless': (Page(DATA, endless=True), 'expected at most 400000 bytes, got more'),
    'too large': (Page(DATA * 2), 'expected at most 400000 bytes, got 600000'),
    'unannounced too large': (Page(DATA * 2, announce=False), 'expected at most 400000 bytes, got more'),
    'wrong bytes': (Page(OTHER), f'expected a sha256 that begins with {SHA256[:8]}'),
    'empty': (Page(b''), f'expected a sha256 that begins with {SHA256[:8]}'),
    'a loop': (Page(status=302, location='/f.pth'), 'expected at most 3 redirects, got more'),
    'to http': (Page(status=301, location='http://localhost/f.pth'), 'got http://localhost/f.pth'),
    'to a file': (Page(status=301, location='file:///etc/passwd'), 'got file:///etc/passwd'),
    'to nowhere': (Page(status=307), 'expected a redirect with a Location'),
    'to nonsense': (Page(status=302, location='https://['), 'cannot be fetched'),
}


@pytest.mark.parametrize(('page', 'cause'), PAGES.values(), ids=PAGES)
def test_what_is_wrong_is_said_and_not_kept(
    page: Page, cause: str, site: Site, wanted: Download, tmp_path: Path
) -> None:
    site.pages['/f.pth'] = page
    limits = PATIENT
    if 'within' in cause:
        limits = replace(PATIENT, total_s=1.0) if 'within 1 s' in cause else replace(PATIENT, stall_s=0.4)
    with pytest.raises(ModelError) as error:
        fetch(wanted, tmp_path, limits)
    assert cause in str(error.value) and '\n' not in str(error.value), error.value
    assert not absent_or_valid(wanted, tmp_path, DATA)
    site.pages['/f.pth'] = Page(DATA, etag='"after"')
    assert fetch(wanted, tmp_path, PATIENT).fresh, 'what it left must not stand in the way'


def test_another_size_than_published_is_refused_unread(site: Site, wanted: Download, tmp_path: Path) -> None:
    site.sent = 0
    site.pages['/f.pth'] = Page(DATA, pause_s=0.01)
    refused(replace(wanted, size=299_999), tmp_path, 'expected 299999 bytes, got 300000')
    assert site.sent < len(DATA)


@pytest.mark.parametrize('hops', [1, 3, 4])
def test_three_redirects_are_followed_and_no_more(
    hops: int, site: Site, wanted: Download, tmp_path: Path
) -> None:
    for hop in range(hops):
        site.pages[f'/{hop}'] = Page(status=302, location=f'/{hop + 1}' if hop + 1 < hops else wanted.url)
    download = replace(wanted, url=site.url('/0'))
    if hops > 3:
        refused(download, tmp_path, 'expected at most 3 redirects, got more')
        assert ('/f.pth', '') not in site.asked
    else:
        assert fetch(download, tmp_path, PATIENT).fresh


def test_an_http_address_is_never_asked(site: Site, wanted: Download, tmp_path: Path) -> None:
    refused(replace(wanted, url=wanted.url.replace('https:', 'http:')), tmp_path, 'expected https')
    assert not site.asked


def test_an_unknown_authority_is_refused(
    site: Site, wanted: Download, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv('SSL_CERT_FILE')
    refused(wanted, tmp_path, 'expected a certificate of a known authority')
    assert not site.asked


def test_a_certificate_for_another_host_is_refused(site: Site, wanted: Download, tmp_path: Path) -> None:
    refused(replace(wanted, url=wanted.url.replace('localhost', '127.0.0.1')), tmp_path, 'known authority')


def test_nobody_listening_is_one_line(site: Site, wanted: Download, tmp_path: Path) -> None:
    refused(replace(wanted, url='https://localhost:1/f.pth'), tmp_path, 'Connection refused')


ZIPS = {
    'no zip': (DATA, 'expected a zip with a .pth'),
    'cut zip': (zipped(('f.pth', DATA))[:-100], 'expected a zip with a .pth'),
    'damaged inside': (zipped(('f.pth', DATA)).replace(DATA[1000:1010], OTHER[:10]), 'a damaged one'),
    'no .pth': (zipped(('f.txt', DATA)), 'expected exactly one .pth in the zip, got 0'),
    'two .pth': (zipped(('f.pth', DATA), ('g.pth', b'x')), 'expected exactly one .pth in the zip, got 2'),
    'a bomb': (zipped(('f.pth', bytes(50_000_000))), 'expected at most 400000 bytes in the zip, got more'),
    'wrong .pth': (zipped(('f.pth', OTHER)), f'expected sha1 {hashlib.sha1(DATA).hexdigest()}'),
}


@pytest.mark.parametrize(('data', 'cause'), ZIPS.values(), ids=ZIPS)
def test_a_zip_that_is_not_right_leaves_nothing(
    data: bytes, cause: str, site: Site, wanted: Download, tmp_path: Path
) -> None:
    download = as_zip(site, wanted, data)
    refused(download, tmp_path, cause)
    assert not [path for path in (tmp_path / 'weights').iterdir() if path.suffix != '.lock']


def test_a_bomb_that_lies_about_its_size_is_no_larger(site: Site, wanted: Download, tmp_path: Path) -> None:
    data = zipped(('f.pth', bytes(50_000_000)))
    assert data.count((50_000_000).to_bytes(4, 'little')) == 2
    lying = data.replace((50_000_000).to_bytes(4, 'little'), (1000).to_bytes(4, 'little'))
    refused(as_zip(site, wanted, lying), tmp_path, 'a damaged one')


def broken_off(site: Site, wanted: Download, cache: Path, **page: Any) -> None:
    site.pages['/f.pth'] = Page(DATA, cut=100_000, **page)
    with pytest.raises(ModelError, match='it goes on from there'):
        fetch(wanted, cache, PATIENT)
    site.asked.clear()
    site.sent = 0


def test_a_broken_fetch_goes_on_where_it_was(site: Site, wanted: Download, tmp_path: Path) -> None:
    broken_off(site, wanted, tmp_path)
    site.pages['/f.pth'] = Page(DATA)
    fetch(wanted, tmp_path, PATIENT)
    assert site.ranges() == ['bytes=100000-'] and site.sent == 200_000
    assert absent_or_valid(wanted, tmp_path, DATA)


AFTER = {
    'ignored': (Page(DATA, ranges=False), ['bytes=100000-']),
    'changed': (Page(DATA, etag='"2"'), ['bytes=100000-']),
    'wrong place': (Page(DATA, status=206, ranges=False), ['bytes=100000-', '']),
    'not satisfiable': (Page(DATA, status=416, ranges=False), ['bytes=100000-', '']),
}


@pytest.mark.parametrize('case', AFTER)
def test_a_server_that_does_not_go_on_starts_over(
    case: str, site: Site, wanted: Download, tmp_path: Path
) -> None:
    page, ranges = AFTER[case]
    broken_off(site, wanted, tmp_path)
    site.pages['/f.pth'] = page
    if page.status == 200:
        fetch(wanted, tmp_path, PATIENT)
    else:
        refused(wanted, tmp_path, f'expected status 200, got {page.status}')
        site.pages['/f.pth'] = Page(DATA)
        fetch(wanted, tmp_path, PATIENT)
        ranges = [*ranges, '']
    assert site.ranges() == ranges and absent_or_valid(wanted, tmp_path, DATA)


@pytest.mark.parametrize('etag', ['', 'W/"1"'])
def test_without_a_strong_tag_nothing_is_resumed(
    etag: str, site: Site, wanted: Download, tmp_path: Path
) -> None:
    broken_off(site, wanted, tmp_path, etag=etag)
    site.pages['/f.pth'] = Page(DATA, etag=etag)
    fetch(wanted, tmp_path, PATIENT)
    assert site.ranges() == [''] and absent_or_valid(wanted, tmp_path, DATA)


def test_a_resumed_file_is_checked_as_a_whole(site: Site, wanted: Download, tmp_path: Path) -> None:
    broken_off(site, wanted, tmp_path)
    site.pages['/f.pth'] = Page(OTHER)  # under the same tag
    refused(wanted, tmp_path, 'expected a sha256 that begins with')
    site.pages['/f.pth'] = Page(DATA)
    fetch(wanted, tmp_path, PATIENT)
    assert site.ranges() == ['bytes=100000-', '']


@pytest.mark.parametrize('data', [DATA, OTHER], ids=['right', 'wrong'])
def test_a_finished_part_is_checked_without_asking(
    data: bytes, site: Site, wanted: Download, tmp_path: Path
) -> None:
    broken_off(site, wanted, tmp_path)
    (tmp_path / 'weights' / 'f.pth.part').write_bytes(data)
    if data is OTHER:
        refused(wanted, tmp_path, 'expected a sha256 that begins with')
    else:
        assert fetch(wanted, tmp_path, PATIENT).fresh
    assert not site.asked


def test_a_full_disk_is_one_line_and_the_rest_comes_later(
    site: Site, wanted: Download, tmp_path: Path
) -> None:
    told = tmp_path / 'told'
    start(wanted, tmp_path, told, file_bytes=150_000).join(20)
    assert 'cannot be written: File too large; make room there' in told.read_text()
    assert not absent_or_valid(wanted, tmp_path, DATA)
    fetch(wanted, tmp_path, PATIENT)
    assert site.ranges() == ['', 'bytes=150000-'] and absent_or_valid(wanted, tmp_path, DATA)


def test_a_full_disk_while_unpacking_keeps_the_zip(site: Site, wanted: Download, tmp_path: Path) -> None:
    download = as_zip(site, wanted, zipped(('f.pth', bytes(300_000))))
    download = replace(download, check=hashlib.sha1(bytes(300_000)).hexdigest())
    told = tmp_path / 'told'
    start(download, tmp_path, told, file_bytes=150_000).join(20)
    assert 'cannot be written: File too large' in told.read_text()
    assert not absent_or_valid(download, tmp_path, bytes(300_000))
    fetch(download, tmp_path, PATIENT)
    assert len(site.asked) == 1 and absent_or_valid(download, tmp_path, bytes(300_000))


def test_a_cache_that_cannot_be_made_is_one_line(site: Site, wanted: Download, tmp_path: Path) -> None:
    (tmp_path / 'file').touch()
    with pytest.raises(WriteError, match='cannot be written: Not a directory; .* XDG_CACHE_HOME'):
        fetch(wanted, tmp_path / 'file', PATIENT)


def test_two_processes_fetch_once(site: Site, wanted: Download, tmp_path: Path) -> None:
    site.pages['/f.pth'] = Page(DATA, pause_s=0.02)
    told = [tmp_path / 'a', tmp_path / 'b']
    both = [start(wanted, tmp_path, path) for path in told]
    for process in both:
        process.join(20)
    assert sorted(path.read_text() for path in told) == ['fresh', 'there']
    assert len(site.asked) == 1 and absent_or_valid(wanted, tmp_path, DATA)


def test_two_names_fetched_at_once_are_both_in_the_index(
    site: Site, wanted: Download, tmp_path: Path
) -> None:
    site.pages['/g.pth'] = Page(DATA)
    other = replace(wanted, name='net-other', file='g.pth', url=site.url('/g.pth'))
    for process in [start(download, tmp_path) for download in (wanted, other)]:
        process.join(20)
    assert set(read_index(tmp_path / 'weights')) == {'net-somebody', 'net-other'}


CRUEL = {
    'good': Page(DATA, pause_s=0.002), 'good, unannounced': Page(DATA, pause_s=0.002, announce=False),
    'no ranges': Page(DATA, pause_s=0.002, ranges=False),
    'changed tag': Page(DATA, etag='"2"', pause_s=0.002),
    'truncated': Page(DATA, cut=200_000, pause_s=0.002), 'stalled': Page(DATA, stall=200_000),
    'endless': Page(DATA, endless=True), 'wrong bytes': Page(OTHER, pause_s=0.002),
    'a loop': Page(status=302, location='/f.pth'), 'to http': Page(status=302, location='http://localhost/'),
    'full disk': Page(DATA, pause_s=0.002), 'two processes': Page(DATA, pause_s=0.002),
}


@pytest.mark.parametrize('packed', [False, True], ids=['plain', 'zip'])
def test_killed_at_any_moment_the_cache_is_absent_or_valid(
    packed: bool, site: Site, wanted: Download, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fifty rounds each, over all cases, with what the rounds before left; SIGKILL at a random moment."""
    random_ = random.Random(3)
    rounds = 50
    path, page_data = '/f.pth', {DATA: DATA, OTHER: OTHER, b'': b''}
    if packed:
        page_data |= {data: zipped(('f.pth', data)) for data in (DATA, OTHER)}
        wanted, path = as_zip(site, wanted, page_data[DATA]), '/f.pth.zip'
    site.pages[path] = Page(page_data[DATA], pause_s=0.002)
    for whole in ('warm-up', 'timed'):
        begun = time.monotonic()
        start(wanted, tmp_path / whole).join(20)
        whole_s = time.monotonic() - begun
    ended: Counter[str] = Counter()
    for round_ in range(rounds):
        case = list(CRUEL)[round_ % len(CRUEL)]
        page = CRUEL[case]
        location = page.location.replace('/f.pth', path)
        site.pages[path] = replace(page, data=page_data[page.data], location=location)
        limits = {'file_bytes': 150_000} if case == 'full disk' else {}
        running = [start(wanted, tmp_path, **limits) for _ in range(2 if case == 'two processes' else 1)]
        for process in running:
            process.join(random_.uniform(0.0, 1.3 * whole_s))
            ended['killed' if process.exitcode is None else 'ended'] += 1
            process.kill()
            process.join(10)
        here = absent_or_valid(wanted, tmp_path, DATA)
        ended['valid' if here else 'absent'] += 1
        if here:
            (folder_of(wanted, tmp_path) / wanted.file).unlink()
    site.pages[path] = Page(page_data[DATA])
    assert fetch(wanted, tmp_path, PATIENT).fresh and absent_or_valid(wanted, tmp_path, DATA)
    with capsys.disabled():
        print(f' {dict(ended)}', end='')
    assert ended['absent'] + ended['valid'] == rounds and ended['killed'] and ended['valid']


INT8 = 'shufflenet_v2_x1_0-imagenet-224-int8'


def shufflenet_ros(repo_root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, '-m', 'shufflenet_ros.cli', *arguments], cwd=repo_root,
                          capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def world(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Every public host is the local site, by a proxy as companies have them; an empty cache."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    with proxy_to(site) as proxy:
        monkeypatch.setenv('https_proxy', proxy)
        yield tmp_path / 'shufflenet_ros'


def test_the_command_fetches_the_public_int8_model(
    site: Site, world: Path, shared_data: Path, repo_root: Path
) -> None:
    """The real command, table and bytes; only the hosts are ours."""
    data = (shared_data / 'shufflenet_v2_x1_0_int8.onnx').read_bytes()
    site.pages['/onnx/models/raw/main/validated/vision/classification/shufflenet/model/'
               'shufflenet-v2-12-int8.onnx'] = Page(status=302, location='https://download.pytorch.org/moved')
    site.pages['/moved'] = Page(data)
    done = shufflenet_ros(repo_root, 'models', 'fetch', INT8)
    assert done.returncode == 0, done.stderr
    path = world / 'models' / f'{INT8}.onnx'
    assert str(path) in done.stdout and f'model:={INT8}' in done.stdout and 'non-commercial' in done.stdout
    assert absent_or_valid(find_download(INT8), world, data)
    assert open_bundle(INT8).trusted and open_bundle(INT8).path == path
    again = shufflenet_ros(repo_root, 'models', 'fetch', INT8, '--json')
    assert not json.loads(again.stdout)['fresh'] and len(site.asked) == 2


def test_the_command_says_in_one_line_what_failed(site: Site, world: Path, repo_root: Path) -> None:
    site.pages['/models/shufflenetv2_x1-5666bf0f80.pth'] = Page(DATA)
    done = shufflenet_ros(repo_root, 'models', 'fetch', 'shufflenet_v2_x1_0-torchvision')
    assert done.returncode == 2 and done.stdout == ''
    assert 'expected a sha256 that begins with 5666bf0f80' in done.stderr.splitlines()[-1]
    assert not [path for path in world.rglob('*') if path.is_file() and path.suffix != '.lock']


def test_an_unknown_name_tells_the_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(['models', 'fetch', 'resnet']) == 2
    assert 'shufflenet_v1_x1_0_g8-pytorchcv' in capsys.readouterr().err
