# SPDX-License-Identifier: Apache-2.0
"""The native backend: our C kernels match onnxruntime, and every fault is reported and survived."""

import ctypes
import gc
import os
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from native_models import LABELS, SIZE, WIDE, entry, native_bundle, network, weights

from shufflenet_ros.backends import load as load_module
from shufflenet_ros.backends import native as native_module
from shufflenet_ros.backends.load import load
from shufflenet_ros.backends.native import (
    ANY_FEATURES,
    VARIABLE,
    NativeBackend,
    library_path,
    load_library,
)
from shufflenet_ros.backends.ort import OnnxRuntimeBackend
from shufflenet_ros.backends.verify import distance, golden_of, verify_in_subprocess
from shufflenet_ros.bundles.bundle import Bundle, open_bundle
from shufflenet_ros.bundles.errors import ModelError
from shufflenet_ros.bundles.files import sha256_of
from shufflenet_ros.bundles.index import write_index
from shufflenet_ros.bundles.variants import (
    ResolvedModel,
    VariantUnavailableError,
    precisions,
    resolve,
    resolve_variant,
)
from shufflenet_ros.packer import reference

FRAMES, MIB = 10_000, 1 << 20


@pytest.fixture(autouse=True)
def built(native_library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library built from the current sources. No subprocess, which would only repeat each check."""
    monkeypatch.setenv(VARIABLE, str(native_library))
    monkeypatch.setattr(load_module, 'verify_in_subprocess', lambda _: None)


@pytest.fixture
def subprocess_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are verified in a subprocess first, as in use."""
    monkeypatch.setattr(load_module, 'verify_in_subprocess', verify_in_subprocess)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A bundle with an fp32 variant."""
    return native_bundle(tmp_path / 'm.onnx')


@pytest.fixture
def bundle(path: Path) -> Bundle:
    return open_bundle(str(path))


def frame(seed: int = 0, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (1, *size, 3), np.uint8)


def native(bundle: Bundle, precision: str = 'fp32', features: int = ANY_FEATURES) -> NativeBackend:
    return NativeBackend(resolve_variant(bundle, 'native', precision), features)


def stub(folder: Path, source: str) -> Path:
    """A library of a few lines of C."""
    path = folder / 'stub.so'
    command = [os.environ.get('CC', 'cc'), '-shared', '-fPIC', '-x', 'c', '-o', str(path), '-']
    subprocess.run(command, input=f'#include <stddef.h>\n{source}', text=True, check=True)
    return path


STUB = """
unsigned sn_abi_version(void) { return 1; }
int sn_describe(const void *c, void *info) { return 0; }
int sn_run(void *c, const void *f, ptrdiff_t r, float *l, float *e) { return 0; }
void sn_destroy(void *c) {}
"""


def test_all_kernels_match_onnxruntime(bundle: Bundle) -> None:
    reference = OnnxRuntimeBackend(resolve(bundle))
    names = set()
    for features in (0, 1, 1 << 8, 3 << 8, ANY_FEATURES):
        backend = native(bundle, features=features)
        names.add(backend.provider)
        for seed in range(5):
            got, expected = backend.run(frame(seed)), reference.run(frame(seed))
            for ours, theirs, length in ((got.logits, expected.logits, len(LABELS)),
                                         (got.embedding, expected.embedding, WIDE)):
                assert ours is not None and theirs is not None
                assert ours.shape == (length,) and ours.dtype == np.float32
                np.testing.assert_allclose(ours, theirs, atol=1e-5 * abs(theirs).max())
    print(f'ran {sorted(names)}')
    assert {'fp32-c', native(bundle).provider} <= names


def test_fp16_is_close_to_onnxruntime(tmp_path: Path) -> None:
    bundle = open_bundle(str(native_bundle(tmp_path / 'm.onnx', precisions=('fp16',))))
    backend = native(bundle, 'fp16')
    print(f'{backend.provider}: {distance(backend, bundle):.2g} away')
    assert 0 < distance(backend, bundle) < 0.01


def test_int8_equals_its_definition(tmp_path: Path) -> None:
    """Bit for bit on every CPU, and near enough to the graph to be loaded."""
    path = native_bundle(tmp_path / 'm.onnx', precisions=('int8',))
    defined = network(SIZE, weights(), open_bundle(str(path)).facts.graph_sha256, 'int8')
    loaded = load(str(path), precision='int8')
    print(f'{loaded.backend.provider}: {distance(loaded.backend, loaded.bundle):.2g} away')
    for backend in (loaded.backend, native(loaded.bundle, 'int8', features=0)):
        for seed in range(5):
            logits, embedding = reference.run(defined, frame(seed)[0])
            got = backend.run(frame(seed))
            np.testing.assert_array_equal(got.logits, logits)
            np.testing.assert_array_equal(got.embedding, embedding)


def test_a_frame_can_have_any_memory_layout(bundle: Bundle) -> None:
    backend, pixels, (height, width) = native(bundle), frame(), SIZE
    expected = backend.run(pixels).logits
    large = np.zeros((1, height + 9, width + 7, 3), np.uint8)
    large[:, 4:4 + height, 3:3 + width] = pixels
    planes = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
    upside_down = np.ascontiguousarray(pixels[:, ::-1])[:, ::-1]
    fixed = np.frombuffer(pixels.tobytes(), np.uint8).reshape(pixels.shape)
    assert not fixed.flags.writeable
    for same in (large[:, 4:4 + height, 3:3 + width], planes, upside_down, fixed):
        assert np.array_equal(same, pixels)
        np.testing.assert_array_equal(backend.run(same).logits, expected)


def test_an_earlier_result_stays_valid(bundle: Bundle) -> None:
    backend = native(bundle)
    first = backend.run(frame(1))
    assert first.embedding is not None
    kept = first.logits.copy(), first.embedding.copy()
    for seed in range(20):
        backend.run(frame(seed + 2))
    np.testing.assert_array_equal(first.logits, kept[0])
    np.testing.assert_array_equal(first.embedding, kept[1])


@pytest.mark.parametrize('tensor', [np.zeros((1, 64, 95, 3), np.uint8), np.zeros((64, 96, 3), np.uint8),
                                    np.zeros((1, 64, 96, 3), np.float32), np.zeros((2, 64, 96, 3), np.uint8)])
def test_a_tensor_of_another_shape_or_type_is_an_error(tensor: np.ndarray, bundle: Bundle) -> None:
    with pytest.raises(ModelError, match=r'expected uint8 \(1, 64, 96, 3\), got'):
        native(bundle).run(tensor)


def test_a_card_without_an_embedding_gets_none(tmp_path: Path) -> None:
    path = native_bundle(tmp_path / 'm.onnx', outputs={'logits': 'logits'}, embedding=None)
    assert load(str(path), backend='native').backend.run(frame()).embedding is None


@pytest.mark.usefixtures('subprocess_too')
@pytest.mark.parametrize(('options', 'runs', 'reason'), [
    ({'backend': 'native'}, 'native', 'it was requested'),
    ({'backend': 'onnxruntime'}, 'onnxruntime', 'it was requested'),
    ({'provider': 'auto'}, 'onnxruntime', 'provider auto was requested'),
    ({'threads': 2}, 'onnxruntime', '2 threads were requested, and native kernels run on one'),
])
def test_options_that_choose_the_backend(options: dict[str, Any], runs: str, reason: str, path: Path) -> None:
    loaded = load(str(path), **options)
    assert (loaded.backend.name, loaded.precision, loaded.fallback) == (runs, 'fp32', False)
    assert loaded.choice == f'{runs} fp32 ({loaded.backend.provider}): {reason}'
    file = path.with_name('m-fp32.native') if runs == 'native' else path
    assert loaded.sha256 == sha256_of(file.read_bytes())


@pytest.mark.parametrize('options', [{'threads': 2}, {'provider': 'cuda'}])
def test_options_that_native_kernels_do_not_support(options: dict[str, Any], path: Path) -> None:
    with pytest.raises(ModelError, match='with backend native'):
        load(str(path), backend='native', **options)


def test_a_bundle_without_variants_runs_on_onnxruntime(tmp_path: Path,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / 'never opened'))
    path = native_bundle(tmp_path / 'm.onnx', precisions=())
    loaded = load(str(path))
    assert (loaded.backend.name, loaded.precision, loaded.fallback) == ('onnxruntime', '', False)
    assert loaded.reason == 'nothing else in the bundle fits'
    with pytest.raises(ModelError, match='a precision that the bundle has for backend native'):
        load(str(path), backend='native')


def test_a_missing_precision_lists_the_available_ones(tmp_path: Path) -> None:
    path = native_bundle(tmp_path / 'm.onnx', precisions=('fp32', 'fp16'))
    for backend in ('auto', 'native', 'onnxruntime'):
        there = {'onnxruntime': 'fp32'}.get(backend, 'fp32, fp16')
        with pytest.raises(ModelError, match=f"{there}, got 'int8'"):
            load(str(path), backend=backend, precision='int8')
    with pytest.raises(ModelError, match="precision: expected one of .*'fp32', 'fp16', 'int8'.* got 'half'"):
        load(str(path), precision='half')


def test_a_lower_precision_never_falls_back_silently(tmp_path: Path,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    path = native_bundle(tmp_path / 'm.onnx', precisions=('fp32', 'fp16'))
    assert load(str(path), precision='fp16').precision == 'fp16'
    monkeypatch.setenv(VARIABLE, str(tmp_path / 'gone.so'))
    with pytest.raises(ModelError, match=r'fp16 cannot run here: .*gone\.so: no such file.* onnxruntime'):
        load(str(path), precision='fp16')
    assert load(str(path), precision='fp32').backend.name == 'onnxruntime'


def falls_back(path: Path, cause: str) -> ModelError:
    """Backend native reports the cause; auto falls back to onnxruntime and reports it too."""
    with pytest.raises(ModelError, match=cause) as rejected:
        load(str(path), backend='native')
    loaded = load(str(path))
    assert loaded.backend.name == 'onnxruntime' and loaded.fallback and loaded.sha256 == loaded.bundle.sha256
    assert re.search(cause, loaded.reason), loaded.reason
    assert np.isfinite(loaded.backend.run(frame()).logits).all()
    return rejected.value


@pytest.mark.parametrize(('changes', 'cause'), [
    ({'sha256': 'a' * 64}, r'm-fp32\.native: expected sha256 aaaa.*, as in the card, got'),
    ({'graph_sha256': 'b' * 64}, r'expected a variant of the graph bbbb.*, that of its card, got'),
    ({'file': '../m-fp32.native'}, r"expected the plain name of a file beside it, got '\.\./m-fp32"),
    ({'file': 'gone.native'}, r'gone\.native: no such file; copy it from where m\.onnx came from'),
])
def test_a_wrong_card_entry(changes: dict[str, Any], cause: str, tmp_path: Path) -> None:
    falls_back(native_bundle(tmp_path / 'm.onnx', entry_changes=changes), cause)


def test_a_blob_of_another_graph(tmp_path: Path) -> None:
    """The card alone would not notice: it was written for the other graph, too."""
    other = native_bundle(tmp_path / 'other.onnx').with_name('other.onnx.card.json')
    path = native_bundle(tmp_path / 'm.onnx', size=(96, 64), precisions=())
    path.with_name('m.onnx.card.json').write_bytes(other.read_bytes().replace(b'[64, 96]', b'[96, 64]'))
    with pytest.raises(ModelError, match=r'a variant of the graph [0-9a-f]{64}, that of m\.onnx, got'):
        load(str(path), backend='native')


@pytest.mark.parametrize('damage', ['cut', 'empty', 'bit', 'text', 'longer'])
def test_a_damaged_blob_whose_hash_is_right(damage: str, path: Path, tmp_path: Path) -> None:
    blob = tmp_path / 'm-fp32.native'
    data = blob.read_bytes()
    bad = {'cut': data[:-64], 'empty': b'', 'bit': data[:700] + bytes([data[700] ^ 1]) + data[701:],
           'text': b'no blob at all', 'longer': data + bytes(64)}[damage]
    blob.write_bytes(bad)
    card = tmp_path / 'm.onnx.card.json'
    card.write_text(card.read_text().replace(sha256_of(data), sha256_of(bad)))
    falls_back(path, 'a file with content' if damage == 'empty' else 'that the native kernels can run, got')


@pytest.mark.usefixtures('subprocess_too')
@pytest.mark.parametrize('changes', [
    {'labels': LABELS[:9]},
    {'input': {'layout': 'NCHW', 'dtype': 'float32', 'size': [64, 96], 'color': 'rgb'}},
])
def test_a_card_that_does_not_match_its_graph_is_an_error_on_every_backend(
        changes: dict[str, Any], tmp_path: Path) -> None:
    path = native_bundle(tmp_path / 'm.onnx', **changes)
    for backend in ('auto', 'native', 'onnxruntime'):
        with pytest.raises(ModelError, match='correct the card'):
            load(str(path), backend=backend)


def test_a_blob_that_does_not_match_its_card(bundle: Bundle) -> None:
    """Sizes are compared before a frame is run: the card's tensor could be shorter than what is read."""
    card = bundle.card
    for changed, cause in (
            (replace(card, labels=card.labels[:9]), 'expected 9 logits'),
            (replace(card, input=replace(card.input, size=(96, 64))), r'expected frames of \(96, 64\)'),
            (replace(card, embedding={'dim': 7, 'layer': 'x'}), 'expected an embedding of 7'),
            (replace(card, input=replace(card.input, dtype='float32')), 'NHWC uint8'),
            (replace(card, variants=(replace(card.variants[0], precision='int8'),)), r'expected int8 \(')):
        with pytest.raises(ModelError, match=cause):
            native(replace(bundle, card=changed), changed.variants[0].precision)


def with_golden(path: Path, **changes: Any) -> Path:
    """The bundle with its own first logits in the card."""
    bundle = open_bundle(str(native_bundle(path)))
    golden = golden_of(OnnxRuntimeBackend(resolve(bundle)), bundle.card, 1e-3)
    return native_bundle(path, golden={'logits': list(golden.logits)}, **changes)


def test_a_blob_with_other_weights_fails_verification(tmp_path: Path) -> None:
    golden = with_golden(tmp_path / 'm.onnx', blob_of=weights(4))
    falls_back(golden, 'expected the golden logits within 0.001')
    bare = native_bundle(tmp_path / 'bare.onnx', blob_of=weights(4))
    falls_back(bare, "expected logits within 0.001 of the graph's for the smooth test image")
    lower = native_bundle(tmp_path / 'm16.onnx', precisions=('fp16',), blob_of=weights(4))
    with pytest.raises(ModelError, match=r"expected logits within 0\.05 of the graph's"):
        load(str(lower), precision='fp16')


@pytest.fixture
def models(no_cache: Path) -> Path:
    """The cache's models folder."""
    folder = no_cache / 'shufflenet_ros' / 'models'
    folder.mkdir(parents=True)
    return folder


def test_with_golden_logits_onnxruntime_is_not_loaded(models: Path, repo_root: Path) -> None:
    with_golden(models / 'm.onnx', inside=True)
    (models / 'm.onnx.card.json').unlink()
    write_index(models)
    code = ("import sys; from shufflenet_ros.backends.load import load; l = load('small', backend='native'); "
            "sys.exit(f'{l.choice} {l.bundle.trusted}' if l.backend.name != 'native' or 'onnxruntime' in "
            "sys.modules else 0)")
    done = subprocess.run([sys.executable, '-c', code], cwd=repo_root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_files_in_an_index_are_not_verified_in_a_subprocess(models: Path, tmp_path: Path,
                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    """An index lists the bundle's hash, so a blob is trusted only through the card inside the bundle."""
    verified: list[str] = []

    def note(model: ResolvedModel) -> None:
        verified.append(model.path.name)
    monkeypatch.setattr(load_module, 'verify_in_subprocess', note)
    load(str(native_bundle(tmp_path / 'stranger.onnx')), backend='native')
    assert verified == ['stranger.onnx', 'stranger-fp32.native']
    inside = native_bundle(models / 'm.onnx', inside=True)
    write_index(models)
    for backend in ('native', 'onnxruntime'):
        assert load('small', backend=backend).backend.name == backend
    assert verified == ['stranger.onnx', 'stranger-fp32.native']
    beside = native_bundle(tmp_path / 'm.onnx').with_name('m.onnx.card.json')
    inside.with_name('m.onnx.card.json').write_bytes(beside.read_bytes())
    assert load('small', backend='native').bundle.trusted
    assert verified[2:] == ['m-fp32.native']


LIBRARIES = {
    'absent': (None, r'lib\.so: no such file; correct SHUFFLENET_NATIVE_LIBRARY'),
    'text': (b'not a library', r'lib\.so: cannot be loaded: '),
    'another': ('int something_else(void) { return 1; }', 'has no sn_abi_version'),
    'newer': ('unsigned sn_abi_version(void) { return 999; }', 'expected interface version 1, got 999'),
    'no kernels for this CPU': (f'{STUB}int sn_create(void) {{ return 3; }}',
                                'status 3; use another precision, or backend onnxruntime'),
    'a crash ends only the child': (f'{STUB}int sn_create(void) {{ *(volatile int *)8 = 1; return 0; }}',
                                    r'its test process ended with signal 11: .*m-fp32\.native'),
}


@pytest.mark.parametrize(('content', 'cause'), LIBRARIES.values(), ids=LIBRARIES)
def test_a_library_that_cannot_be_used(content: str | bytes | None, cause: str, path: Path, tmp_path: Path,
                                       monkeypatch: pytest.MonkeyPatch) -> None:
    library = tmp_path / 'lib.so'
    if isinstance(content, str):
        stub(tmp_path, content).rename(library)
    elif content:
        library.write_bytes(content)
    monkeypatch.setenv(VARIABLE, str(library))
    if 'signal' in cause:
        monkeypatch.setattr(load_module, 'verify_in_subprocess', verify_in_subprocess)
    assert isinstance(falls_back(path, cause), VariantUnavailableError) == ('signal' not in cause)


def test_a_package_without_the_library_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE)
    assert library_path() == Path(native_module.__file__).with_name('libshufflenet_native.so')
    monkeypatch.setattr(native_module, 'FILE', 'libabsent.so')
    with pytest.raises(VariantUnavailableError, match='no working C compiler was found when'):
        load_library()


def test_variants_for_onnxruntime(tmp_path: Path) -> None:
    """Another ONNX file as a variant; here with the same graph, so that its results are known."""
    sibling = native_bundle(tmp_path / 'sibling.onnx', precisions=())
    data = sibling.read_bytes()
    variant = entry('sibling.onnx', data, 'int8', '', backend='onnxruntime')
    path = native_bundle(tmp_path / 'm.onnx', precisions=(), variants=[variant])
    assert precisions(open_bundle(str(path)).card, 'auto') == ['int8']
    for backend in ('auto', 'onnxruntime'):
        loaded = load(str(path), backend=backend, precision='int8')
        assert (loaded.precision, loaded.sha256, loaded.fallback) == ('int8', sha256_of(data), False)
        assert loaded.backend.name == 'onnxruntime'
    assert load(str(path)).precision == ''
    sibling.write_bytes(data[:-1])
    with pytest.raises(ModelError, match=r'sibling\.onnx: expected sha256'):
        load(str(path), precision='int8')


def test_the_gil_is_free_while_it_runs(tmp_path: Path) -> None:
    """Another thread goes on counting; if the library keeps the GIL it does not, so the test can fail."""
    size = (512, 512)
    backend = native(open_bundle(str(native_bundle(tmp_path / 'm.onnx', size=size))))
    pixels = frame(0, size)
    counted, ended = [0], threading.Event()

    def count() -> None:
        while not ended.is_set():
            counted[0] += 1
            time.sleep(0)  # releases the GIL, which nothing else here does

    def counted_meanwhile() -> int:
        before = counted[0]
        backend.run(pixels)
        return counted[0] - before
    interval = sys.getswitchinterval()
    thread = threading.Thread(target=count)
    try:
        sys.setswitchinterval(60.0)
        thread.start()
        free = [counted_meanwhile() for _ in range(50)]
        keeping = ctypes.PyDLL(str(library_path())).sn_run
        keeping.argtypes = load_library().sn_run.argtypes
        backend._run = keeping
        kept = [counted_meanwhile() for _ in range(50)]
    finally:
        ended.set()
        sys.setswitchinterval(interval)
        thread.join()
    print(f'counts in a run: {sorted(free)[25]} with the GIL free, {max(kept)} with the GIL kept')
    assert sum(free) > 50 and sum(kept) == 0


def test_contexts_in_two_threads_agree_with_one(bundle: Bundle) -> None:
    alone, seeds = native(bundle), list(range(40))
    expected = [alone.run(frame(seed)).logits for seed in seeds]

    def wrong(seeds: list[int]) -> list[int]:
        backend = native(bundle)
        return [s for s in seeds * 5 if not np.array_equal(backend.run(frame(s)).logits, expected[s])]
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(wrong, (seeds, seeds[::-1]))) == [[], []]


def resident() -> int:
    """Bytes of this process that are in memory."""
    gc.collect()
    return int(Path('/proc/self/statm').read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE')


def test_frames_and_contexts_do_not_leak(bundle: Bundle) -> None:
    backend, pixels, contexts = native(bundle), frame(), 200
    for _ in range(FRAMES // 5):
        backend.run(pixels)
    before = resident()
    for _ in range(FRAMES):
        backend.run(pixels)
    after_frames = resident()
    for _ in range(contexts):
        native(bundle).run(pixels)
    after_contexts = resident()
    print(f'{FRAMES} frames: {(after_frames - before) / MIB:+.2f} MiB; {contexts} contexts of '
          f'{backend.memory / MIB:.2f} MiB: {(after_contexts - after_frames) / MIB:+.2f} MiB')
    # Arrays that were kept would take 400 bytes a frame with their objects.
    assert after_frames - before < 2 * MIB
    assert after_contexts - after_frames < contexts * backend.memory / 10


def test_every_cpu_feature_of_the_library_has_a_name(repo_root):
    header = (repo_root / 'native/include/shufflenet_native.h').read_text()
    bits = {int(bit) for bit in re.findall(r'^ +SN_\w+ = 1 << (\d+)', header, re.MULTILINE)}
    assert bits == native_module._FEATURES.keys()
    assert set(native_module.cpu_features()) <= set(native_module._FEATURES.values())
