# SPDX-License-Identifier: Apache-2.0
"""From a name or path to a model that is ready to run. The node and the command line call `load`."""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from shufflenet_ros.backends.candidates import (
    AUTO,
    MAX_ACCURACY_LOSS,
    Candidate,
    LoadRequest,
    find_candidates,
    no_onnx_file_error,
    reason_for_single_candidate,
)
from shufflenet_ros.backends.choose import Choice, choice_file, measure, read_choice, save_choice
from shufflenet_ros.backends.native_library import load_library
from shufflenet_ros.backends.start import start
from shufflenet_ros.backends.verify import smooth_test_image, verify
from shufflenet_ros.backends.verify_in_subprocess import verify_in_subprocess
from shufflenet_ros.bundles.bundle import Bundle, open_bundle
from shufflenet_ros.bundles.errors import ModelError
from shufflenet_ros.bundles.variants import PRECISIONS, ResolvedModel, VariantUnavailableError, resolve
from shufflenet_ros.core.card import Card
from shufflenet_ros.core.frame import Backend
from shufflenet_ros.core.preprocess import preprocess


@dataclass(frozen=True)
class LoadedModel:
    """A verified, warm model.

    Attributes:
        model: the file that runs.
        backend: what runs it.
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
        """Of the file that runs."""
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
    quarter of a second; the choice is kept for the next start.

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
    kept = choice_file(bundle, candidates, threads, provider)
    if len(candidates) > 1 and (choice := read_choice(kept, candidates)) is not None:
        chosen = next(candidate for candidate in candidates if str(candidate) == choice.chosen)
        try:
            return _with_choice(_start(bundle, chosen, request), choice, 'measured at an earlier start')
        except ModelError:
            pass  # it ran then and does not now: measure all of them again
    return _load_fastest(bundle, candidates, request, kept)


def _start(bundle: Bundle, candidate: Candidate, request: LoadRequest) -> LoadedModel:
    """Verify and start one candidate.

    Raises:
        VariantUnavailableError: the machine lacks what it needs.
        ModelError: its file, its card or its results are wrong.
    """
    if candidate.backend == 'native':
        load_library()  # if it is missing, that is the cause to report, rather than a missing file
    model = resolve(bundle, candidate.variant)
    if candidate.variant is not None and not model.trusted:
        verify_in_subprocess(model)
    backend = start(model, request.provider, request.threads)
    verify(backend, model)
    return LoadedModel(model, backend)


def _load_fastest(bundle: Bundle, candidates: list[Candidate], request: LoadRequest,
                  kept: Path) -> LoadedModel:
    """Start every candidate and keep the fastest; one that cannot start is left out, with its cause."""
    started: dict[str, LoadedModel] = {}
    left_out: dict[str, ModelError] = {}
    for candidate in candidates:
        try:
            started[str(candidate)] = _start(bundle, candidate, request)
        except ModelError as error:
            # A wrong graph is a wrong model. Anything else may be wrong on this machine only.
            if candidate.variant is None and not isinstance(error, VariantUnavailableError):
                raise
            left_out[str(candidate)] = error
    fallback = any(candidate.backend == 'native' and str(candidate) in left_out for candidate in candidates)
    causes = '; '.join(f'{name} is left out: {error}' for name, error in left_out.items())
    if not started:
        raise _nothing_runs(bundle, request, list(left_out.values()))
    if len(started) == 1:
        only = next(iter(started.values()))
        return replace(only, fallback=fallback, reason=causes or reason_for_single_candidate(bundle, request))
    choice = _measure(bundle, started, request)
    if not fallback:
        save_choice(kept, choice)
    how = f'measured now; {causes}' if causes else 'measured now'
    return replace(_with_choice(started[choice.chosen], choice, how), fallback=fallback)


def _measure(bundle: Bundle, started: Mapping[str, LoadedModel], request: LoadRequest) -> Choice:
    """Time all candidates; by CPU time if one thread does all the work, because load then matters less."""
    alone = request.threads == 1 and request.provider == 'cpu'
    tensor = preprocess(smooth_test_image(bundle.card.input.size), bundle.card.input)
    timings = measure({name: loaded.backend for name, loaded in started.items()}, tensor,
                      time.thread_time if alone else time.perf_counter)
    return Choice(min(timings, key=timings.__getitem__), timings)


def _with_choice(loaded: LoadedModel, choice: Choice, how: str) -> LoadedModel:
    return replace(loaded, reason=f'the fastest here of {choice.as_text} ({how})', timings=choice.as_text)


def _nothing_runs(bundle: Bundle, request: LoadRequest, errors: list[ModelError]) -> ModelError:
    """All causes; VariantUnavailableError if each of them is this machine's."""
    causes = '; '.join(dict.fromkeys(map(str, errors)))  # variants often fail for the same cause
    if request.backend == AUTO and request.precision in PRECISIONS:
        return no_onnx_file_error(bundle, request.precision, causes)
    if len(errors) == 1:
        return errors[0]
    here_only = all(isinstance(error, VariantUnavailableError) for error in errors)
    kind = VariantUnavailableError if here_only else ModelError
    return kind(f'{bundle.path}: nothing can run it here: {causes}')
