# SPDX-License-Identifier: Apache-2.0
"""From a name or path to a model that is ready to run. The node and the command line call `load`."""

import hashlib
import importlib.util
import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from shufflenet_ros.backends.native import library_path, load_library
from shufflenet_ros.backends.verify import smooth_test_image, start, verify, verify_in_subprocess
from shufflenet_ros.bundles.bundle import Bundle, open_bundle
from shufflenet_ros.bundles.errors import ModelError
from shufflenet_ros.bundles.files import read_regular
from shufflenet_ros.bundles.locate import cache_root
from shufflenet_ros.bundles.variants import (
    AUTO,
    MAX_ACCURACY_LOSS,
    PRECISIONS,
    LoadRequest,
    ResolvedModel,
    VariantUnavailableError,
    find_candidates,
    no_onnx_file_error,
    reason_for_single_candidate,
    resolve,
)
from shufflenet_ros.core.card import Card, Variant
from shufflenet_ros.core.files import WriteError, write_whole
from shufflenet_ros.core.frame import Backend
from shufflenet_ros.core.preprocess import preprocess

BUDGET_S = 0.25  # to time all candidates, while the node is not yet active
_SCHEMA = 1
_MAX_TIMINGS_BYTES = 1 << 16

Timings = dict[str, float]
"""Candidate -> median milliseconds of one inference, the fastest first."""


@dataclass(frozen=True)
class LoadedModel:
    """A verified, warm model.

    Attributes:
        model: the file that runs.
        backend: the running backend.
        reason: why this backend and precision were chosen.
        fallback: whether a native variant exists but could not be used.
        timings: milliseconds of one inference of each candidate, the fastest first, as text; '' if there was
            only one.
    """

    model: ResolvedModel
    backend: Backend
    reason: str = ''
    fallback: bool = False
    timings: str = ''

    @property
    def bundle(self) -> Bundle:
        """The bundle that the file belongs to."""
        return self.model.bundle

    @property
    def card(self) -> Card:
        """The bundle's card."""
        return self.model.card

    @property
    def sha256(self) -> str:
        """SHA-256 of the file that runs."""
        return self.model.sha256

    @property
    def precision(self) -> str:
        """fp32, fp16 or int8; '' if the bundle's own graph runs and its card does not state it."""
        return self.model.precision

    @property
    def choice(self) -> str:
        """One sentence for the log: what runs, and why."""
        precision = f' {self.precision}' if self.precision else ''
        return f'{self.backend.name}{precision} ({self.backend.provider}): {self.reason}'

    @property
    def terms(self) -> str:
        """One line for the log: training data, its terms and the weights' license, from the card."""
        data = self.card.training.get('data') or 'data the card does not name'
        terms = self.card.training.get('terms') or 'the card names none'
        return (f'model {self.card.name} (sha256 {self.bundle.sha256[:12]}): trained on {data}; '
                f'terms: {terms}; license of the weights: {self.card.license or "the card names none"}')


def load(name_or_path: str, *, card: str = '', sha256: str = '', backend: str = AUTO,
         provider: str = 'cpu', threads: int = 1, precision: str = AUTO,
         max_accuracy_loss: float = MAX_ACCURACY_LOSS) -> LoadedModel:
    """Open, verify (in a subprocess first if no index lists the file), start and warm up a model.

    If several of the bundle's files and backends fit, the fastest on this machine runs. Measuring takes a
    quarter of a second; the timings are saved for the next start.

    Args:
        name_or_path: a model's name, or the path of an ONNX file.
        card: a card file that takes precedence over every other.
        sha256: the hash that the file must have.
        backend: native, onnxruntime, or auto for both.
        provider: of onnxruntime: cpu, another name of backends.ort.PROVIDERS, or auto. Native kernels run on
            cpu only.
        threads: of one inference. Native kernels run on one.
        precision: fp32, fp16, int8; '' for that of the bundle's own graph; auto for each that loses at most
            max_accuracy_loss by the card's figures.
        max_accuracy_loss: points of top-1 against the bundle's own graph.

    Raises:
        ModelError: names the file, the cause and the remedy.
    """
    request = LoadRequest(backend, precision, provider, threads, max_accuracy_loss)
    bundle = open_bundle(name_or_path, card, sha256)
    candidates = find_candidates(bundle, request)
    if not bundle.trusted:  # check the card against the graph, no matter what will run
        with suppress(VariantUnavailableError):  # without onnxruntime, variants are checked against the card
            verify_in_subprocess(resolve(bundle))
    file = _timings_file(bundle, candidates, request)
    if len(candidates) > 1 and (timings := _read_timings(file, candidates)):
        fastest = next(iter(timings))
        with suppress(ModelError):  # it ran then; if it does not now, measure all of them again
            return _with_timings(_start(bundle, candidates[fastest], request), timings,
                                 'measured at an earlier start')
    return _load_fastest(bundle, candidates, request, file)


def _start(bundle: Bundle, variant: Variant | None, request: LoadRequest) -> LoadedModel:
    """Verify and start one candidate.

    Raises:
        VariantUnavailableError: the machine lacks what it needs.
        ModelError: its file, its card or its results are wrong.
    """
    if variant is not None and variant.backend == 'native':
        load_library()  # if it is missing, that is the cause to report, rather than a missing file
    model = resolve(bundle, variant)
    if variant is not None and not model.trusted:
        verify_in_subprocess(model)
    backend = start(model, request.provider, request.threads)
    verify(backend, model)
    return LoadedModel(model, backend)


def _load_fastest(bundle: Bundle, candidates: Mapping[str, Variant | None], request: LoadRequest,
                  file: Path) -> LoadedModel:
    """Start every candidate and return the fastest; one that cannot start is left out, with the cause."""
    started: dict[str, LoadedModel] = {}
    left_out: dict[str, ModelError] = {}
    for name, variant in candidates.items():
        try:
            started[name] = _start(bundle, variant, request)
        except ModelError as error:
            # A wrong graph is a wrong model. Anything else may be wrong on this machine only.
            if variant is None and not isinstance(error, VariantUnavailableError):
                raise
            left_out[name] = error
    if not started:
        raise _nothing_runs(bundle, request, list(left_out.values()))
    fallback = any(name.startswith('native ') for name in left_out)
    causes = '; '.join(f'{name} is left out: {error}' for name, error in left_out.items())
    if len(started) == 1:
        only, = started.values()
        return replace(only, fallback=fallback, reason=causes or reason_for_single_candidate(bundle, request))
    # By CPU time if one thread does all the work, because load then matters less.
    alone = request.threads == 1 and request.provider == 'cpu'
    tensor = preprocess(smooth_test_image(bundle.card.input.size), bundle.card.input)
    timings = measure({name: loaded.backend for name, loaded in started.items()}, tensor,
                      time.thread_time if alone else time.perf_counter)
    if not fallback:
        _save_timings(file, timings)
    how = f'measured now; {causes}' if causes else 'measured now'
    return replace(_with_timings(started[next(iter(timings))], timings, how), fallback=fallback)


def _with_timings(loaded: LoadedModel, timings: Timings, how: str) -> LoadedModel:
    text = ', '.join(f'{name} {ms:.2f} ms' for name, ms in timings.items())
    return replace(loaded, reason=f'the fastest here of {text} ({how})', timings=text)


def _nothing_runs(bundle: Bundle, request: LoadRequest, errors: list[ModelError]) -> ModelError:
    """The error with all causes; VariantUnavailableError if all of them lie in this machine."""
    causes = '; '.join(dict.fromkeys(map(str, errors)))  # variants often have the same cause
    if request.backend == AUTO and request.precision in PRECISIONS:
        return no_onnx_file_error(bundle, request.precision, causes)
    if len(errors) == 1:
        return errors[0]
    here_only = all(isinstance(error, VariantUnavailableError) for error in errors)
    kind = VariantUnavailableError if here_only else ModelError
    return kind(f'{bundle.path}: nothing can run it here: {causes}')


def measure(backends: Mapping[str, Backend], tensor: Any, clock: Callable[[], float]) -> Timings:
    """Time the backends for BUDGET_S, in rounds.

    In rounds, so that a busy phase of the machine slows all of them alike. The first call in each round only
    brings the weights back into the CPU cache, where they are when frames follow each other.
    """
    times: dict[str, list[float]] = {name: [] for name in backends}
    begin = now = time.monotonic()
    rounds = 0
    while not rounds or (now - begin) * (rounds + 1) / rounds < BUDGET_S:
        for name, backend in backends.items():
            backend.run(tensor)
            before = clock()
            backend.run(tensor)
            times[name].append(clock() - before)
        rounds += 1
        now = time.monotonic()
    medians = {name: 1e3 * statistics.median(values) for name, values in times.items()}
    return dict(sorted(medians.items(), key=lambda item: item[1]))


def _timings_file(bundle: Bundle, candidates: Mapping[str, Variant | None], request: LoadRequest) -> Path:
    """The file for the timings: one for each machine, set of software, bundle and request."""
    key = [_machine(), bundle.sha256, bundle.card.to_json(), request.threads, request.provider,
           [(name, variant.sha256 if variant else '') for name, variant in candidates.items()]]
    name = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]
    return cache_root() / 'choices' / f'{name}.json'


def _machine() -> list[str]:
    """What a timing depends on: CPU, native library, onnxruntime."""
    keys = ('model name', 'flags', 'Features', 'CPU implementer', 'CPU part', 'Model')
    found = {platform.machine()}
    with suppress(OSError):
        lines = Path('/proc/cpuinfo').read_text('utf-8', 'replace').splitlines()
        found |= {line for line in lines if line.partition('\t')[0].strip() in keys}
    with suppress(OSError):
        found.add(hashlib.sha256(library_path().read_bytes()).hexdigest())
    # The installed onnxruntime, under any package name, without the cost of importing it.
    spec = importlib.util.find_spec('onnxruntime')
    if spec and spec.origin:
        found.add(f'{spec.origin} {Path(spec.origin).stat().st_mtime_ns}')
    return sorted(found)


def _read_timings(path: Path, candidates: Mapping[str, Variant | None]) -> Timings | None:
    """Earlier timings of some of these candidates; None if there are no usable ones."""
    with suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):  # absent or damaged
        values = json.loads(read_regular(path, _MAX_TIMINGS_BYTES))
        timings = {str(name): float(ms) for name, ms in values['timings_ms'].items()}
        if values['schema'] == _SCHEMA and timings and timings.keys() <= candidates.keys():
            return timings
    return None


def _save_timings(path: Path, timings: Timings) -> None:
    """Save timings for the next start; a robot with a read-only disk measures at every start."""
    with suppress(OSError, WriteError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps({'schema': _SCHEMA, 'timings_ms': timings}).encode())
