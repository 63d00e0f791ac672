# SPDX-License-Identifier: Apache-2.0
"""What the demo's bag shows and when: the street video first, then a pan over each photo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from demo.photos import Photo

RATE_HZ = 25
START_NS = 1_700_000_000 * 10**9  # fixed, so that the bag is the same every time
STREET_S = 10.0  # all of bikes.mp4
PAN_S = 4.0


@dataclass(frozen=True)
class Segment:
    """Frames [begin, end) of the bag.

    Attributes:
        right: the labels that are right there; none for the street.
        counted: whether its frames are part of `known_right`.
    """

    name: str
    begin: int
    end: int
    right: tuple[str, ...] = ()
    counted: bool = False

    @property
    def from_s(self) -> float:
        """Time of the first frame, in seconds from the bag's start."""
        return self.begin / RATE_HZ

    @property
    def to_s(self) -> float:
        """Time of the first frame after it, in seconds from the bag's start."""
        return self.end / RATE_HZ

    @property
    def title(self) -> str:
        """Its name, and which labels are right."""
        return self.name + (f', right: {", ".join(self.right)}' if self.right else '')

    def is_right(self, label: str) -> bool:
        """Whether a label is right here; some models write `egyptian_cat` as `Egyptian cat`."""
        return label.lower().replace(' ', '_') in self.right


def segments_of(photos: tuple[Photo, ...], seconds: float | None = None) -> tuple[Segment, ...]:
    """Return the segments of a bag of about `seconds`; all are shortened by the same factor.

    Without `seconds` the bag has STREET_S of street and PAN_S of each photo, which is the maximum.
    """
    full = STREET_S + PAN_S * len(photos)
    factor = 1.0 if seconds is None else min(1.0, seconds / full)
    parts = [('street', STREET_S, (), False),
             *((photo.name, PAN_S, photo.right, photo.counted) for photo in photos)]
    segments, begin = [], 0
    for name, duration, right, counted in parts:
        end = begin + max(2, round(duration * factor * RATE_HZ))
        segments.append(Segment(name, begin, end, right, counted))
        begin = end
    return tuple(segments)


def stamp_of(frame: int) -> int:
    """Return the header's stamp of a frame of the bag, in nanoseconds."""
    return START_NS + frame * 10**9 // RATE_HZ


def segment_at(segments: Sequence[Segment], stamp_ns: int) -> Segment:
    """Return the segment of the frame with this stamp; the last one for any stamp past the end."""
    frame = (stamp_ns - START_NS) * RATE_HZ // 10**9
    return next((segment for segment in segments if frame < segment.end), segments[-1])
