# SPDX-License-Identifier: Apache-2.0
"""Which stamps are reported as a problem."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shufflenet_ros.core.stamp import stamp_problem


@pytest.mark.parametrize(('sec', 'nanosec', 'named'), [
    (-1, 0, '-1'), (-2**31, 5, '-2147483648'), (0, 1_000_000_000, '1000000000'), (7, 2**32 - 1, '4294967295'),
    (0, 0, 'zero'),
])
def test_a_bad_stamp_is_reported_with_its_value(sec, nanosec, named):
    assert named in stamp_problem(sec, nanosec)


@given(st.integers(-2**31, 2**31 - 1), st.integers(0, 2**32 - 1))
def test_exactly_the_times_after_zero_are_valid(sec, nanosec):
    is_time = sec >= 0 and nanosec < 10**9 and sec + nanosec > 0
    assert (stamp_problem(sec, nanosec) is None) == is_time
