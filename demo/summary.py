# SPDX-License-Identifier: Apache-2.0
"""What the demo measured, the invariants that must hold, and the last line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from demo.content import Segment, segment_at
from scripts.rig.watcher import NodeCounts, ReceivedResult

TOP = 3
MIN_RESULTS = 0.95  # of the frames


@dataclass(frozen=True)
class DemoRun:
    """Everything that the demo measured.

    Attributes:
        sent_ns: the stamps of the published images, in order.
        sent_at_ns: stamp -> system time of the image's publication, where it is known.
        results: in order of arrival.
        node: the node's own counters at the end.
    """

    segments: tuple[Segment, ...]
    sent_ns: tuple[int, ...]
    sent_at_ns: Mapping[int, int]
    results: tuple[ReceivedResult, ...]
    node: NodeCounts

    def segment_of(self, result: ReceivedResult) -> Segment:
        """Return the segment of the result's frame."""
        return segment_at(self.segments, result.stamp_ns)

    @cached_property
    def result_by_stamp(self) -> dict[int, ReceivedResult]:
        """The results of the images that were sent, by stamp."""
        sent = set(self.sent_ns)
        return {result.stamp_ns: result for result in self.results if result.stamp_ns in sent}

    @property
    def ages_ms(self) -> list[float]:
        """Age of each result seen from outside: its publication minus its image's publication."""
        return [(result.published_ns - self.sent_at_ns[stamp]) / 1e6
                for stamp, result in self.result_by_stamp.items() if stamp in self.sent_at_ns]

    def right_frames(self) -> dict[str, tuple[int, int]]:
        """Return for each pan (frames with a right label in the top 3, all frames).

        A frame without a result counts as not right.
        """
        right = Counter(
            self.segment_of(result).name for result in self.result_by_stamp.values()
            if any(self.segment_of(result).is_right(label) for label, _ in result.predictions[:TOP]))
        return {s.name: (right[s.name], s.end - s.begin) for s in self.segments if s.right}

    def known_right(self) -> float:
        """Return the share of the counted photos' frames with a right label in the top 3."""
        counted = {segment.name for segment in self.segments if segment.counted}
        counts = [count for name, count in self.right_frames().items() if name in counted]
        return sum(right for right, _ in counts) / sum(frames for _, frames in counts)

    def last_line(self) -> str:
        """Return the demo's last line of output."""
        node = self.node
        return (f'demo: frames={len(self.sent_ns)} results={len(self.results)} dropped={node.dropped} '
                f'superseded={node.superseded} age_p50_ms={node.age_p50_ms:.1f} '
                f'age_p99_ms={node.age_p99_ms:.1f} known_right={self.known_right():.3f}')


def violated_invariants(run: DemoRun) -> list[str]:
    """Return a sentence for each invariant that does not hold."""
    node, frames, results = run.node, len(run.sent_ns), len(run.results)
    total = results + node.dropped + node.superseded
    checks = {
        f'{frames} images were sent and {node.received} reached the node: {frames - node.received} were lost '
        'on the way': node.received == frames,
        f'the node published {node.published} results and {results} came back': results == node.published,
        f'results {results} + dropped {node.dropped} + superseded {node.superseded} is {total}, '
        f'not frames {frames}': total == frames,
        f'{node.dropped} frames were dropped, expected none with this bag': node.dropped == 0,
        f'{results} results for {frames} frames are fewer than {MIN_RESULTS:.0%}':
            results >= MIN_RESULTS * frames,
    }
    stamps = Counter(result.stamp_ns for result in run.results)
    repeated = [stamp for stamp, count in stamps.items() if count > 1]
    unknown = set(stamps) - set(run.sent_ns)
    return [sentence for sentence, holds in checks.items() if not holds] + [
        f'{len(wrong)} {what}, first {min(wrong)}' for wrong, what in (
            (repeated, 'frames have more than one result'),
            (unknown, 'results have the stamp of no image')) if wrong]
