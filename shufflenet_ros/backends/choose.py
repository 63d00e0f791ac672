# SPDX-License-Identifier: Apache-2.0
"""Find the fastest of several candidates on this machine: measure once, then keep the choice."""

import hashlib
import importlib.util
import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shufflenet_ros.backends.candidates import Candidate
from shufflenet_ros.backends.native_library import library_path
from shufflenet_ros.bundles.bundle import Bundle
from shufflenet_ros.bundles.files import read_regular
from shufflenet_ros.bundles.locate import cache_root
from shufflenet_ros.core.files import WriteError, write_whole
from shufflenet_ros.core.frame import Backend

BUDGET_S = 0.25  # for all candidates together, while the node is not yet active
_SCHEMA = 1
_MAX_BYTES = 1 << 16


def measure(backends: Mapping[str, Backend], tensor: Any, clock: Callable[[], float]) -> dict[str, float]:
    """Median milliseconds of one inference of each, measured in rounds for BUDGET_S.

    In rounds, so that a busy phase of the machine slows all of them alike. The first call in each round only
    brings the weights back into the CPU cache, where they are when frames follow each other.
    """
    times: dict[str, list[float]] = {name: [] for name in backends}
    begin = now = time.monotonic()
    rounds = 0
    while not rounds or (now - begin) * (rounds + 1) / rounds < BUDGET_S:
        for name, backend in backends.items():
            backend.run(tensor)
            start = clock()
            backend.run(tensor)
            times[name].append(clock() - start)
        rounds += 1
        now = time.monotonic()
    return {name: 1e3 * statistics.median(values) for name, values in times.items()}


@dataclass(frozen=True)
class Choice:
    """The fastest candidate, and the milliseconds of an inference of each."""

    chosen: str
    timings_ms: Mapping[str, float]

    @property
    def as_text(self) -> str:
        """All candidates, the fastest first."""
        ordered = sorted(self.timings_ms.items(), key=lambda item: item[1])
        return ', '.join(f'{name} {ms:.2f} ms' for name, ms in ordered)


def choice_file(bundle: Bundle, candidates: list[Candidate], threads: int, provider: str) -> Path:
    """The file that keeps a choice: one for each machine, set of software, bundle and request."""
    key = [machine(), bundle.sha256, bundle.card.to_json(), threads, provider,
                [(str(candidate), candidate.variant.sha256 if candidate.variant else '')
                 for candidate in candidates]]
    name = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]
    return cache_root() / 'choices' / f'{name}.json'


def machine() -> tuple[str, ...]:
    """What a timing depends on: CPU, native library, onnxruntime."""
    keys = ('model name', 'flags', 'Features', 'CPU implementer', 'CPU part', 'Model')
    cpu: set[str] = set()
    with suppress(OSError):
        lines = Path('/proc/cpuinfo').read_text('utf-8', 'replace').splitlines()
        cpu = {line for line in lines if line.partition('\t')[0].strip() in keys}
    library = ''
    with suppress(OSError):
        library = hashlib.sha256(library_path().read_bytes()).hexdigest()
    return platform.machine(), *sorted(cpu), library, _onnxruntime()


def _onnxruntime() -> str:
    """Which onnxruntime is installed, under any package name, without the cost of importing it."""
    spec = importlib.util.find_spec('onnxruntime')
    origin = spec.origin if spec else None
    return f'{origin} {Path(origin).stat().st_mtime_ns}' if origin else ''


def read_choice(path: Path, candidates: list[Candidate]) -> Choice | None:
    """An earlier choice among the same candidates; None if there is no usable one."""
    try:
        values = json.loads(read_regular(path, _MAX_BYTES))
        timings = {str(name): float(ms) for name, ms in values['timings_ms'].items()}
        known = {str(candidate) for candidate in candidates}
        if values['schema'] == _SCHEMA and values['chosen'] in timings and timings.keys() <= known:
            return Choice(values['chosen'], timings)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass  # absent, or not written by us: measure again
    return None


def save_choice(path: Path, choice: Choice) -> None:
    """Keep a choice for the next start; a robot whose disk is read-only measures at every start."""
    values = {'schema': _SCHEMA, 'chosen': choice.chosen, 'timings_ms': dict(choice.timings_ms)}
    with suppress(OSError, WriteError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(values).encode())
