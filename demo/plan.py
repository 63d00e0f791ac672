"""What the demo's bag shows when: street video first, then one pan a photo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from demo.photos import Photo

RATE_HZ = 25
START_NS = 1_700_000_000 * 10**9  # any fixed time will do, so that the same bag comes out every time
STREET_S = 10.0  # all of bikes.mp4
PAN_S = 4.0


@dataclass(frozen=True)
class Segment:
    """A stretch of the bag: frames [begin, end), and the labels that are right there (none: no pan).

    Attributes:
        counted: whether its frames are part of `known_right`.
    """

    name: str
    begin: int
    end: int
    right: tuple[str, ...] = ()
    counted: bool = False

    @property
    def from_s(self) -> float:
        """Seconds from the bag's start, of its first frame."""
        return self.begin / RATE_HZ

    @property
    def to_s(self) -> float:
        """Seconds from the bag's start, of the first frame after it."""
        return self.end / RATE_HZ


def plan(photos: tuple[Photo, ...], seconds: float | None = None) -> tuple[Segment, ...]:
    """The segments of a bag that lasts `seconds`: every part shortened alike, none longer than it is.

    Without `seconds` it is the whole: STREET_S of street, PAN_S a photo.
    """
    whole = STREET_S + PAN_S * len(photos)
    share = 1.0 if seconds is None else min(1.0, seconds / whole)
    parts = [('street', STREET_S, (), False),
             *((photo.name, PAN_S, photo.right, photo.counted) for photo in photos)]
    segments, begin = [], 0
    for name, duration, right, counted in parts:
        end = begin + max(2, round(duration * share * RATE_HZ))
        segments.append(Segment(name, begin, end, right, counted))
        begin = end
    return tuple(segments)


def is_right(label: str, segment: Segment) -> bool:
    """Whether a label is right there; other models write the same classes as `Egyptian cat`."""
    return label.lower().replace(' ', '_') in segment.right


def stamp_of(frame: int) -> int:
    """The header's stamp of a frame of the bag, in nanoseconds."""
    return START_NS + frame * 10**9 // RATE_HZ


def segment_at(segments: Sequence[Segment], stamp_ns: int) -> Segment:
    """The segment that shows the frame of this stamp; the last one for any stamp behind it."""
    frame = (stamp_ns - START_NS) * RATE_HZ // 10**9
    return next((segment for segment in segments if frame < segment.end), segments[-1])
