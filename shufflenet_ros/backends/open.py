"""From a name or path to a model that is ready: what the node and the command line call."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from shufflenet_ros.backends.bundle import Bundle, open_bundle
from shufflenet_ros.backends.errors import mismatch
from shufflenet_ros.backends.ort import OnnxRuntimeBackend
from shufflenet_ros.backends.probe import prove_apart
from shufflenet_ros.backends.prove import prove
from shufflenet_ros.core.card import Card
from shufflenet_ros.core.frame import Backend

BACKENDS: Mapping[str, Callable[[Bundle, str, int], Backend]] = {'onnxruntime': OnnxRuntimeBackend}


@dataclass(frozen=True)
class Loaded:
    """A proved, warm model: its bundle and the backend that runs it."""

    bundle: Bundle
    backend: Backend

    @property
    def card(self) -> Card:
        """The bundle's card."""
        return self.bundle.card

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


def load(name_or_path: str, *, card: str = '', sha256: str = '', backend: str = 'onnxruntime',
         provider: str = 'cpu', threads: int = 1) -> Loaded:
    """Open, prove (in a child process first where no index lists the file), start and warm up.

    Args:
        name_or_path: a model's name, or the path of an ONNX file.
        card: a card file that goes before every other.
        sha256: the hash the file must have.
        backend: onnxruntime.
        provider: cpu, another name of backends.ort.PROVIDERS, or auto.
        threads: of one inference.

    Raises:
        ModelError: names the file, the cause and the remedy.
    """
    if backend not in BACKENDS:
        raise mismatch('backend', f'one of {list(BACKENDS)}', repr(backend[:80]), 'correct the parameter')
    bundle = open_bundle(name_or_path, card, sha256)
    if not bundle.trusted:
        prove_apart(bundle)
    started = BACKENDS[backend](bundle, provider, threads)
    prove(started, bundle.card, str(bundle.path))
    return Loaded(bundle, started)
