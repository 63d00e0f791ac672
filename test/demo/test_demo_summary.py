# SPDX-License-Identifier: Apache-2.0
"""The demo's arithmetic, on runs that are small enough to count by hand."""

import re
from dataclasses import replace

import pytest

from demo.content import Segment, stamp_of
from demo.summary import DemoRun, violated_invariants
from scripts.rig.watcher import NodeCounts, ReceivedResult

SENT = tuple(stamp_of(i) for i in range(100))
SEGMENTS = (Segment('street', 0, 60), Segment('cat', 60, 80, ('tabby', 'egyptian_cat'), counted=True),
            Segment('orange', 80, 100, ('orange',), counted=True))


def result(i, *labels):
    return ReceivedResult(SENT[i], tuple((label, 0.5 / (rank + 1)) for rank, label in enumerate(labels)), 0)


def run_of(results, **node):
    n = len(results)
    counts = {'received': 100, 'published': n, 'dropped': 0, 'superseded': 100 - n} | node
    return DemoRun(SEGMENTS, SENT, {}, tuple(results), NodeCounts(**counts, age_p50_ms=4.25, age_p99_ms=9.0))


GOOD = [result(i, 'plate', 'wok', 'tabby', 'orange') for i in range(98)]


def test_last_line_counts_and_shares():
    # 20 of 20 cat frames have tabby third; the orange frames have orange fourth, so none counts.
    run = run_of(GOOD)
    assert run.right_frames() == {'cat': (20, 20), 'orange': (0, 20)}
    assert run.known_right() == 0.5
    assert run.last_line() == ('demo: frames=100 results=98 dropped=0 superseded=2 age_p50_ms=4.2 '
                               'age_p99_ms=9.0 known_right=0.500')
    assert violated_invariants(run) == []


def test_a_photo_that_is_not_counted_is_still_reported():
    run = replace(run_of(GOOD), segments=(*SEGMENTS[:2], replace(SEGMENTS[2], counted=False)))
    assert run.right_frames() == {'cat': (20, 20), 'orange': (0, 20)}
    assert run.known_right() == 1.0


def test_pan_frames_without_a_result_count_as_not_right():
    assert run_of([r for r in GOOD if r.stamp_ns != SENT[60]]).right_frames()['cat'] == (19, 20)


def test_one_of_several_right_labels_is_enough_and_the_street_never_counts():
    run = run_of([result(0, 'tabby'), result(60, 'egyptian_cat'), result(61, 'orange')])
    assert run.right_frames() == {'cat': (1, 20), 'orange': (0, 20)}


@pytest.mark.parametrize(('run', 'sentence'), [
    (run_of(GOOD, received=99), '100 images were sent and 99 reached the node: 1 were lost on the way'),
    (run_of(GOOD, published=99), 'the node published 99 results and 98 came back'),
    (run_of(GOOD, superseded=1), 'results 98 [+] dropped 0 [+] superseded 1 is 99, not frames 100'),
    (run_of(GOOD, dropped=1, superseded=1), '1 frames were dropped'),
    (run_of(GOOD[:94]), '94 results for 100 frames are fewer than 95%'),
    (run_of([*GOOD, GOOD[3]], superseded=1), f'1 frames have more than one result.*{SENT[3]}'),
    (run_of([*GOOD, replace(GOOD[0], stamp_ns=5)], superseded=1), '1 results have the stamp of no image'),
])
def test_each_violated_invariant_is_reported(run, sentence):
    violated = violated_invariants(run)
    assert len(violated) == 1
    assert re.search(sentence, violated[0]), violated
    run.known_right()  # still measured


def test_exactly_95_percent_is_enough():
    assert violated_invariants(run_of(GOOD[:95])) == []
