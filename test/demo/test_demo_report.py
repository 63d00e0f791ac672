"""The demo's arithmetic on outcomes whose answer is known by counting on fingers."""

import re
from dataclasses import replace

import pytest

from demo.plan import Segment, stamp_of
from demo.report import (
    NodeCounts,
    Outcome,
    Result,
    known_right,
    last_line,
    right_by_photo,
    violated_invariants,
)

SENT = tuple(stamp_of(i) for i in range(100))
SEGMENTS = (Segment('street', 0, 60), Segment('cat', 60, 80, ('tabby', 'egyptian_cat'), counted=True),
            Segment('orange', 80, 100, ('orange',), counted=True))


def answer(i, *names):
    return Result(SENT[i], tuple((name, 0.5 / (rank + 1)) for rank, name in enumerate(names)), 0)


def outcome_of(results, **node):
    n = len(results)
    counts = {'received': 100, 'published': n, 'dropped': 0, 'superseded': 100 - n} | node
    return Outcome(SEGMENTS, SENT, {}, tuple(results), NodeCounts(**counts, age_p50_ms=4.25, age_p99_ms=9.0))


GOOD = [answer(i, 'plate', 'wok', 'tabby', 'orange') for i in range(98)]


def test_last_line_counts_and_shares():
    # 20 of 20 cat frames have tabby third; the orange frames have orange fourth, so none counts.
    outcome = outcome_of(GOOD)
    assert right_by_photo(outcome) == {'cat': (20, 20), 'orange': (0, 20)}
    assert known_right(outcome) == 0.5
    assert last_line(outcome) == ('demo: frames=100 results=98 dropped=0 superseded=2 age_p50_ms=4.2 '
                                  'age_p99_ms=9.0 known_right=0.500')
    assert violated_invariants(outcome) == []


def test_a_photo_that_is_not_counted_is_reported_all_the_same():
    not_counted = (*SEGMENTS[:2], replace(SEGMENTS[2], counted=False))
    outcome = replace(outcome_of(GOOD), segments=not_counted)
    assert right_by_photo(outcome) == {'cat': (20, 20), 'orange': (0, 20)}
    assert known_right(outcome) == 1.0


def test_pan_frames_without_a_result_count_as_not_right():
    outcome = outcome_of([r for r in GOOD if r.stamp_ns != SENT[60]])
    assert right_by_photo(outcome)['cat'] == (19, 20)


def test_one_of_several_right_labels_is_enough_and_street_never_counts():
    outcome = outcome_of([answer(0, 'tabby'), answer(60, 'egyptian_cat'), answer(61, 'orange')])
    assert right_by_photo(outcome) == {'cat': (1, 20), 'orange': (0, 20)}


@pytest.mark.parametrize('outcome, says', [
    (outcome_of(GOOD, received=99), '100 images were sent and 99 reached the node: 1 were lost on the way'),
    (outcome_of(GOOD, published=99), 'the node published 99 results and 98 came back'),
    (outcome_of(GOOD, superseded=1), 'results 98 [+] dropped 0 [+] superseded 1 is 99, not frames 100'),
    (outcome_of(GOOD, dropped=1, superseded=1), '1 frames were dropped'),
    (outcome_of(GOOD[:94]), '94 results for 100 frames are fewer than 95%'),
    (outcome_of([*GOOD, GOOD[3]], superseded=1), f'1 frames were answered more than once.*{SENT[3]}'),
    (outcome_of([*GOOD, replace(GOOD[0], stamp_ns=5)], superseded=1), '1 results have the stamp of no image'),
])
def test_each_broken_law_is_named(outcome, says):
    broken = violated_invariants(outcome)
    assert len(broken) == 1
    assert re.search(says, broken[0]), broken
    known_right(outcome)  # still measured


def test_exactly_95_percent_is_enough():
    assert violated_invariants(outcome_of(GOOD[:95])) == []
