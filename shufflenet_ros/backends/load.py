"""From a name or path to a model that is ready: what the node and the command line call."""

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
    no_onnx_file,
    why_only_one,
)
from shufflenet_ros.backends.choose import Choice, choice_file, keep_choice, measure, read_choice
from shufflenet_ros.backends.native import NativeBackend
from shufflenet_ros.backends.native_library import load_library
from shufflenet_ros.backends.verify import smooth_test_image, verify, verify_variant
from shufflenet_ros.backends.verify_in_subprocess import verify_in_subprocess
from shufflenet_ros.bundles.bundle import Bundle, open_bundle
from shufflenet_ros.bundles.errors import ModelError
from shufflenet_ros.bundles.onnx_file import read_facts
from shufflenet_ros.bundles.variants import PRECISIONS, VariantUnavailableError, read_variant
from shufflenet_ros.core.card import Card
from shufflenet_ros.core.frame import Backend
from shufflenet_ros.core.preprocess import preprocess


@dataclass(frozen=True)
class LoadedModel:
    """A verified, warm model: its bundle and the backend that runs it.

    Attributes:
        sha256: of the file that runs: the bundle's, or that of its variant.
        precision: fp32, fp16 or int8; '' where the bundle runs and its card doesn't tell.
        why: why this backend and precision were chosen.
        fallback: whether a native variant was there to be used, and could not be.
        timings: milliseconds of one inference of each candidate, the fastest first, in words; '' where there
            was only one.
    """

    bundle: Bundle
    backend: Backend
    sha256: str
    precision: str
    why: str
    fallback: bool = False
    timings: str = ''

    @property
    def card(self) -> Card:
        """The bundle's card."""
        return self.bundle.card

    @property
    def choice(self) -> str:
        """One sentence for the log: what runs, and why."""
        precision = f' {self.precision}' if self.precision else ''
        return f'{self.backend.name}{precision} ({self.backend.provider}): {self.why}'

    @property
    def terms(self) -> str:
        """One line for the log: what the weights were trained on, and on which terms they may be used."""
        return f'model {self.card.name} (sha256 {self.bundle.sha256[:12]}): {terms_of(self.card)}'


def terms_of(card: Card) -> str:
    """Training data, its terms and the weights' license, as the card states them."""
    data = card.training.get('data') or 'data the card does not name'
    terms = card.training.get('terms') or 'the card names none'
    weights_license = card.license or 'the card names none'
    return f'trained on {data}; terms: {terms}; license of the weights: {weights_license}'


def load(name_or_path: str, *, card: str = '', sha256: str = '', backend: str = AUTO,
         provider: str = 'cpu', threads: int = 1, precision: str = AUTO,
         max_accuracy_loss: float = MAX_ACCURACY_LOSS) -> LoadedModel:
    """Open, verify (in a child process first where no index lists the file), start and warm up.

    Where several of the bundle's files and backends fit, the one that is fastest on this machine runs. That
    takes a quarter of a second once; the choice is kept for the next start.

    Args:
        name_or_path: a model's name, or the path of an ONNX file.
        card: a card file that goes before every other.
        sha256: the hash the file must have.
        backend: native, onnxruntime, or auto for both.
        provider: of onnxruntime: cpu, another name of backends.ort.PROVIDERS, or auto. Native kernels take
            cpu alone.
        threads: of one inference. Native kernels run on one.
        precision: fp32, fp16, int8; '' for that of the bundle's own graph; auto for each that loses at most
            max_accuracy_loss by the card's figures.
        max_accuracy_loss: points of top-1 against the bundle's own graph.

    Raises:
        ModelError: names the file, the cause and the remedy.
    """
    request = LoadRequest(backend, precision, provider, threads, max_accuracy_loss)
    bundle = open_bundle(name_or_path, card, sha256)
    found = find_candidates(bundle, request)
    _verify_graph(bundle)
    kept = choice_file(bundle, found, threads, provider)
    if len(found) > 1 and (choice := read_choice(kept, found)) is not None:
        chosen = next(candidate for candidate in found if str(candidate) == choice.chosen)
        try:
            return _chosen(_start(bundle, chosen, request), choice, 'measured at an earlier start')
        except ModelError:
            pass  # what ran then does not run now: look at all of them again
    return _load_fastest(bundle, found, request, kept)


def _verify_graph(bundle: Bundle) -> None:
    """Hold an untrusted bundle's card to its graph, whatever is to run, in a child process."""
    if not bundle.trusted:
        with suppress(VariantUnavailableError):  # no onnxruntime: then its variants are held to the card alone
            verify_in_subprocess(bundle)


def _load_fastest(bundle: Bundle, found: list[Candidate], request: LoadRequest, kept: Path) -> LoadedModel:
    """Start every candidate and keep the fastest; one that cannot start is left out, with its cause."""
    started: dict[str, LoadedModel] = {}
    left_out: dict[str, ModelError] = {}
    for candidate in found:
        try:
            started[str(candidate)] = _start(bundle, candidate, request)
        except ModelError as error:
            # A graph that is wrong is no model. Everything else may be so on this machine alone.
            if candidate.variant is None and not isinstance(error, VariantUnavailableError):
                raise
            left_out[str(candidate)] = error
    fallback = any(candidate.backend == 'native' and str(candidate) in left_out for candidate in found)
    causes = '; '.join(f'{name} is left out: {error}' for name, error in left_out.items())
    if not started:
        raise _nothing_runs(bundle, request, list(left_out.values()))
    if len(started) == 1:
        only = next(iter(started.values()))
        return replace(only, fallback=fallback, why=causes or why_only_one(bundle, request))
    choice = _measure(bundle, started, request)
    if not fallback:
        keep_choice(kept, choice)
    how = f'measured now; {causes}' if causes else 'measured now'
    return replace(_chosen(started[choice.chosen], choice, how), fallback=fallback)


def _measure(bundle: Bundle, started: Mapping[str, LoadedModel], request: LoadRequest) -> Choice:
    """Which is the fastest; by processor time where one thread does all the work, as load matters less then.
    """
    alone = request.threads == 1 and request.provider == 'cpu'
    tensor = preprocess(smooth_test_image(bundle.card.input.size), bundle.card.input)
    timings = measure({name: loaded.backend for name, loaded in started.items()}, tensor,
                      time.thread_time if alone else time.perf_counter)
    return Choice(min(timings, key=timings.__getitem__), timings)


def _chosen(loaded: LoadedModel, choice: Choice, how: str) -> LoadedModel:
    return replace(loaded, why=f'the fastest here of {choice.in_words} ({how})', timings=choice.in_words)


def _nothing_runs(bundle: Bundle, request: LoadRequest, errors: list[ModelError]) -> ModelError:
    """All causes; VariantUnavailableError where each of them lies in this machine."""
    causes = '; '.join(dict.fromkeys(map(str, errors)))  # variants often fail for the same cause
    if request.backend == AUTO and request.precision in PRECISIONS:
        return no_onnx_file(bundle, request.precision, causes)
    if len(errors) == 1:
        return errors[0]
    here_alone = all(isinstance(error, VariantUnavailableError) for error in errors)
    return (VariantUnavailableError if here_alone else ModelError)(f'{bundle.path}: nothing can run it here: {causes}')


def _start(bundle: Bundle, candidate: Candidate, request: LoadRequest) -> LoadedModel:
    """Verify and start one way to run the bundle.

    Raises:
        VariantUnavailableError: the machine lacks what it needs.
        ModelError: its file, its card or its answers are wrong.
    """
    if candidate.backend == 'native':
        return _start_native(bundle, candidate)
    return _start_onnxruntime(bundle, candidate, request)


def _start_native(bundle: Bundle, candidate: Candidate) -> LoadedModel:
    assert candidate.variant is not None
    load_library()
    file = read_variant(bundle, candidate.variant)
    if not file.trusted:
        verify_in_subprocess(bundle, native=file)
    backend = NativeBackend(bundle, candidate.precision, file=file)
    verify_variant(backend, bundle, candidate.precision, str(file.path))
    return LoadedModel(bundle, backend, candidate.variant.sha256, candidate.precision, '')


def _start_onnxruntime(bundle: Bundle, candidate: Candidate, request: LoadRequest) -> LoadedModel:
    # Only here, because a robot that runs native kernels alone needs no onnxruntime in memory.
    from shufflenet_ros.backends.ort import OnnxRuntimeBackend

    if candidate.variant is None:
        backend = OnnxRuntimeBackend(bundle, request.provider, request.threads)
        verify(backend, bundle.card, str(bundle.path))
        return LoadedModel(bundle, backend, bundle.sha256, candidate.precision, '')
    file = read_variant(bundle, candidate.variant)
    sibling = replace(bundle, path=file.path, data=file.data, sha256=candidate.variant.sha256,
                      facts=read_facts(file.data), card=replace(bundle.card, golden=None),
                      trusted=file.trusted)
    if not sibling.trusted:
        verify_in_subprocess(sibling)
    backend = OnnxRuntimeBackend(sibling, request.provider, request.threads)
    verify_variant(backend, bundle, candidate.precision, str(file.path))
    return LoadedModel(bundle, backend, candidate.variant.sha256, candidate.precision, '')
