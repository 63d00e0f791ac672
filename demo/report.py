"""The demo's arithmetic: what was counted, which laws must hold, and the last line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from demo.plan import Segment, is_right, segment_at

TOP = 3
MIN_RESULTS = 0.95  # of the frames


@dataclass(frozen=True)
class Result:
    """One classification as it came back over DDS.

    Attributes:
        stamp_ns: the header's stamp, which names the frame.
        labels: (name, score) by falling score.
        published_ns: system time of its publication, as DDS stamped it.
    """

    stamp_ns: int
    labels: tuple[tuple[str, float], ...]
    published_ns: int


@dataclass(frozen=True)
class NodeCounts:
    """The node's own counters and ages at the end, from /diagnostics.

    Ages are publication minus arrival inside the node, on its steady clock, in milliseconds.
    """

    received: int
    published: int
    dropped: int
    superseded: int
    age_p50_ms: float
    age_p99_ms: float


@dataclass(frozen=True)
class Outcome:
    """Everything that the demo measured.

    Attributes:
        sent_ns: the stamps of the images that were published, in order.
        sent_at_ns: by stamp, the system time of the image's publication, where the demo learned it.
        results: in order of arrival.
    """

    segments: tuple[Segment, ...]
    sent_ns: tuple[int, ...]
    sent_at_ns: Mapping[int, int]
    results: tuple[Result, ...]
    node: NodeCounts

    def segment_of(self, stamp_ns: int) -> Segment:
        """The segment that shows the frame of this stamp."""
        return segment_at(self.segments, stamp_ns)

    def answers(self) -> dict[int, Result]:
        """The results by the stamps of the images that were sent."""
        sent = set(self.sent_ns)
        return {result.stamp_ns: result for result in self.results if result.stamp_ns in sent}

    def seen_ages_ms(self) -> list[float]:
        """How old each result was seen from outside: its publication minus its image's publication."""
        return [(result.published_ns - self.sent_at_ns[stamp]) / 1e6
                for stamp, result in self.answers().items() if stamp in self.sent_at_ns]

    def names_it(self, result: Result) -> bool:
        """Whether a right label of the frame's segment is among the first three."""
        segment = self.segment_of(result.stamp_ns)
        return any(is_right(name, segment) for name, _ in result.labels[:TOP])


def violated_invariants(outcome: Outcome) -> list[str]:
    """What must hold and doesn't, one sentence each; empty when all is well."""
    node, frames, results = outcome.node, len(outcome.sent_ns), len(outcome.results)
    broken = []
    if node.received != frames:
        broken.append(f'{frames} images were sent and {node.received} reached the node: '
                      f'{frames - node.received} were lost on the way')
    if results != node.published:
        broken.append(f'the node published {node.published} results and {results} came back')
    if results + node.dropped + node.superseded != frames:
        broken.append(f'results {results} + dropped {node.dropped} + superseded {node.superseded} '
                      f'is {results + node.dropped + node.superseded}, not frames {frames}')
    if node.dropped:
        broken.append(f'{node.dropped} frames were dropped, and the bag holds none that may be')
    if results < MIN_RESULTS * frames:
        broken.append(f'{results} results for {frames} frames are fewer than {MIN_RESULTS:.0%}')
    return broken + _wrong_stamps([result.stamp_ns for result in outcome.results], outcome.sent_ns)


def _wrong_stamps(stamps: Sequence[int], sent: Collection[int]) -> list[str]:
    twice = [stamp for stamp, n in Counter(stamps).items() if n > 1]
    strange = set(stamps) - set(sent)
    broken = []
    if twice:
        broken.append(f'{len(twice)} frames were answered more than once, first the one of stamp {twice[0]}')
    if strange:
        broken.append(f'{len(strange)} results have the stamp of no image, first {min(strange)}')
    return broken


def right_by_photo(outcome: Outcome) -> dict[str, tuple[int, int]]:
    """For each pan: how many of its frames had a right label in the top 3, and how many frames it has.

    A frame without a result counts as not right.
    """
    right = Counter(outcome.segment_of(stamp).name for stamp, result in outcome.answers().items()
                    if outcome.names_it(result))
    return {s.name: (right[s.name], s.end - s.begin) for s in outcome.segments if s.right}


def known_right(outcome: Outcome) -> float:
    """The share of the counted photos' frames with a right label in the top 3."""
    counted = {segment.name for segment in outcome.segments if segment.counted}
    counts = [count for name, count in right_by_photo(outcome).items() if name in counted]
    return sum(right for right, _ in counts) / sum(frames for _, frames in counts)


def last_line(outcome: Outcome) -> str:
    """The demo's last line."""
    node = outcome.node
    return (f'demo: frames={len(outcome.sent_ns)} results={len(outcome.results)} dropped={node.dropped} '
            f'superseded={node.superseded} age_p50_ms={node.age_p50_ms:.1f} age_p99_ms={node.age_p99_ms:.1f} '
            f'known_right={known_right(outcome):.3f}')
