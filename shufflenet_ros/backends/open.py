"""From a name or path to a model that is ready: what the node and the command line call."""

from dataclasses import dataclass, replace

from shufflenet_ros.backends.bundle import Bundle, open_bundle
from shufflenet_ros.backends.errors import ModelError, mismatch
from shufflenet_ros.backends.native import NativeBackend
from shufflenet_ros.backends.native_library import load_library
from shufflenet_ros.backends.onnx_file import read_facts
from shufflenet_ros.backends.probe import prove_apart
from shufflenet_ros.backends.prove import prove, prove_variant
from shufflenet_ros.backends.variants import (
    BACKENDS,
    PRECISIONS,
    find_variant,
    no_such_precision,
    own_precision,
    precisions,
    read_variant,
)
from shufflenet_ros.core.card import Card
from shufflenet_ros.core.frame import Backend

_ASKED_FOR = 'it was asked for'
_PASSED = 'the bundle has this variant, and its test passed here'


@dataclass(frozen=True)
class Loaded:
    """A proved, warm model: its bundle and the backend that runs it.

    Attributes:
        sha256: of the file that runs: the bundle's, or that of its variant.
        precision: fp32, fp16 or int8; '' where the bundle runs and its card doesn't tell.
        why: why this backend was chosen.
        fallback: whether a native variant was there to be used, and could not be.
    """

    bundle: Bundle
    backend: Backend
    sha256: str
    precision: str
    why: str
    fallback: bool = False

    @property
    def card(self) -> Card:
        """The bundle's card."""
        return self.bundle.card

    @property
    def choice(self) -> str:
        """One sentence for the log: what runs, and why."""
        return f'{self.backend.name} {self.backend.provider}: {self.why}'

    @property
    def terms(self) -> str:
        """One line for the log: what the weights were trained on, and on which terms they may be used."""
        return f'model {self.card.name} (sha256 {self.bundle.sha256[:12]}): {terms_of(self.card)}'


def terms_of(card: Card) -> str:
    """Training data, its terms and the weights' licence, as the card states them."""
    data = card.training.get('data') or 'data the card does not name'
    terms = card.training.get('terms') or 'the card names none'
    licence = card.license or 'the card names none'
    return f'trained on {data}; terms: {terms}; licence of the weights: {licence}'


def load(name_or_path: str, *, card: str = '', sha256: str = '', backend: str = 'auto',
         provider: str = 'cpu', threads: int = 1, precision: str = '') -> Loaded:
    """Open, prove (in a child process first where no index lists the file), start and warm up.

    Args:
        name_or_path: a model's name, or the path of an ONNX file.
        card: a card file that goes before every other.
        sha256: the hash the file must have.
        backend: native, onnxruntime, or auto: native where the bundle has a native variant of the precision
            that passes its test here, else onnxruntime.
        provider: of onnxruntime: cpu, another name of backends.ort.PROVIDERS, or auto. Native kernels take
            cpu alone.
        threads: of one inference. Native kernels run on one.
        precision: fp32, fp16 or int8; '' for the bundle's own.

    Raises:
        ModelError: names the file, the cause and the remedy.
    """
    if backend not in BACKENDS:
        raise mismatch('backend', f'one of {list(BACKENDS)}', repr(backend[:80]), 'correct the parameter')
    if precision not in ('', *PRECISIONS):
        raise mismatch('precision', f"one of {list(PRECISIONS)}, or '' for the bundle's own",
                       repr(precision[:80]), 'correct the parameter')
    bundle = open_bundle(name_or_path, card, sha256)
    if precision and precision not in precisions(bundle.card, backend):
        raise no_such_precision(bundle, backend, precision)
    if not bundle.trusted:
        prove_apart(bundle)
    if backend == 'native':
        return _native(bundle, precision, provider, threads, _ASKED_FOR)
    if backend == 'onnxruntime':
        return _onnxruntime(bundle, precision, provider, threads, _ASKED_FOR)
    if why := _no_native(bundle, precision, provider, threads):
        return _onnxruntime(bundle, precision, provider, threads, why)
    try:
        return _native(bundle, precision, provider, threads, _PASSED)
    except ModelError as error:
        loaded = _onnxruntime(bundle, precision, provider, threads, str(error))
    return replace(loaded, fallback=True)


def _no_native(bundle: Bundle, precision: str, provider: str, threads: int) -> str:
    """Why native kernels are not even tried, in words; '' where they are."""
    wanted = precision or own_precision(bundle.card)
    if find_variant(bundle.card, 'native', wanted) is None:
        return f'the bundle has no native variant{f" in {wanted}" if wanted else ""}'
    if provider != 'cpu':
        return f'provider {provider} was asked for'
    if threads != 1:
        return f'{threads} threads were asked for, and native kernels run on one'
    return ''


def _native(bundle: Bundle, precision: str, provider: str, threads: int, why: str) -> Loaded:
    if provider not in ('cpu', 'auto'):
        raise mismatch('provider', 'cpu with backend native', repr(provider[:80]), 'use backend onnxruntime')
    if threads != 1:
        raise mismatch('threads', '1 with backend native', str(threads), 'use 1, or backend onnxruntime')
    wanted = precision or own_precision(bundle.card)
    variant = find_variant(bundle.card, 'native', wanted)
    if variant is None:
        raise no_such_precision(bundle, 'native', wanted)
    load_library()
    file = read_variant(bundle, variant)
    if not file.trusted:
        prove_apart(bundle, native=file)
    started = NativeBackend(bundle, wanted, file=file)
    prove_variant(started, bundle, wanted, str(file.path))
    return Loaded(bundle, started, variant.sha256, wanted, why)


def _onnxruntime(bundle: Bundle, precision: str, provider: str, threads: int, why: str) -> Loaded:
    # Only here, because a robot that runs native kernels alone needs no onnxruntime in memory.
    from shufflenet_ros.backends.ort import OnnxRuntimeBackend

    own = own_precision(bundle.card)
    if precision in ('', own):
        started = OnnxRuntimeBackend(bundle, provider, threads)
        prove(started, bundle.card, str(bundle.path))
        return Loaded(bundle, started, bundle.sha256, own, why)
    variant = find_variant(bundle.card, 'onnxruntime', precision)
    if variant is None:
        raise ModelError(f'{bundle.path}: {precision} cannot run here: {why}. For onnxruntime there is no '
                         "file of it: leave precision empty for the bundle's own, or mend the cause")
    file = read_variant(bundle, variant)
    sibling = replace(bundle, path=file.path, data=file.data, sha256=variant.sha256,
                      facts=read_facts(file.data), card=replace(bundle.card, golden=None),
                      trusted=file.trusted)
    if not sibling.trusted:
        prove_apart(sibling)
    started = OnnxRuntimeBackend(sibling, provider, threads)
    prove_variant(started, bundle, precision, str(file.path))
    return Loaded(bundle, started, variant.sha256, precision, why)
