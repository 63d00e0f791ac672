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
    run = run_of(GOOD)
    assert run.last_line() == ('demo: frames=100 results=98 dropped=0 superseded=2 age_p50_ms=4.2 '
                               'age_p99_ms=9.0 known_right=0.500')
    one_counted = replace(run, segments=(*SEGMENTS[:2], replace(SEGMENTS[2], counted=False)))
    assert one_counted.right_frames() == run.right_frames()
    assert one_counted.known_right() == 1.0


@pytest.mark.parametrize(('results', 'cat', 'orange'), [
    (GOOD, 20, 0),  # tabby is third in all, orange is fourth
    ([r for r in GOOD if r.stamp_ns != SENT[60]], 19, 0),  # a frame without a result is not right
    # One of several right labels is enough, and the street never counts.
    ([result(0, 'tabby'), result(60, 'egyptian_cat'), result(61, 'orange')], 1, 0),
])
def test_pan_frames_with_a_right_label_in_the_top_3_are_counted(results, cat, orange):
    assert run_of(results).right_frames() == {'cat': (cat, 20), 'orange': (orange, 20)}


@pytest.mark.parametrize(('run', 'sentence'), [
    (run_of(GOOD), ''),
    (run_of(GOOD[:95]), ''),  # exactly 95 % are enough
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
    assert len(violated) == bool(sentence)
    assert re.search(sentence, ''.join(violated)), violated
    run.known_right()  # still measured
