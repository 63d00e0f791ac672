# SPDX-License-Identifier: Apache-2.0
"""The log's validation figures, and whether a run is better than guessing."""

import math

import numpy as np
import pytest

pytest.importorskip('torch')

from shufflenet_ros.training.validation import learned_nothing, scores


def line(correct, counts, loss=0.1):
    """A log's last line: correct predictions and images of each class."""
    targets = np.repeat(np.arange(len(counts)), counts)
    return {'loss': loss} | scores(np.array([*correct, sum(counts)], float), targets)


def test_scores_count_images_and_classes():
    figures = line([9, 0, 1], [9, 1, 2])
    assert figures['val_top1'] == pytest.approx(10 / 12, abs=1e-4) and figures['val_top5'] == 1
    assert figures['val_recall'] == 0.5
    assert line([2, 0, 0], [4, 4, 0])['val_recall'] == 0.25, 'a class without images counts for nothing'


@pytest.mark.parametrize(('correct', 'counts', 'better'), [
    ([8, 8, 8], [8, 8, 8], True),
    ([8, 0, 0], [8, 8, 8], False),  # always the same class
    ([3, 3, 2], [8, 8, 8], False),  # guesses
    ([4, 4, 4], [8, 8, 8], False),  # guesses with luck
    ([6, 6, 6], [8, 8, 8], True),
    ([90, 0], [90, 10], False),  # top-1 is 90 %, as with the first class always
    ([82, 8], [90, 10], True),  # top-1 is 90 %, too
    ([20] * 200, [1000] * 200, True),  # 2 % of 200 classes is four times what guessing gets
    ([5] * 200, [1000] * 200, False),
])
def test_a_run_must_be_better_than_guessing(correct, counts, better):
    why = learned_nothing([line(correct, counts)], len(counts))
    assert (why == '') == better
    assert better or 'recall on the validation images is' in why


@pytest.mark.parametrize('counts', [[1, 1], [2, 2], [3, 0, 0]])
def test_with_too_few_images_the_loss_decides(counts):
    for correct in (counts, [0] * len(counts)):
        assert not learned_nothing([line(correct, counts, 0.5)], len(counts))
        for loss in (math.log(len(counts)), math.inf, math.nan):
            why = learned_nothing([line(correct, counts, loss)], len(counts))
            assert f'its training loss is {loss:.3f}, and that of guessing is' in why


def test_the_last_epoch_counts():
    good, bad = line([8, 8, 8], [8, 8, 8]), line([8, 0, 0], [8, 8, 8])
    assert learned_nothing([], 3) == 'no epoch has ended yet'
    assert not learned_nothing([bad, good], 3) and learned_nothing([good, bad], 3)
