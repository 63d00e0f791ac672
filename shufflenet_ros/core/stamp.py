# SPDX-License-Identifier: Apache-2.0
"""Checks a header's stamp. A bad one is counted; the result is published anyway."""


def stamp_problem(sec: int, nanosec: int) -> str | None:
    """What is wrong with a builtin_interfaces/Time, with a remedy, or None.

    Zero counts as a problem: drivers that never set the stamp send it.
    """
    if sec < 0:
        return f'stamp has sec {sec}, expected >= 0: check the clock of the machine that runs the camera'
    if not 0 <= nanosec < 1_000_000_000:
        return f'stamp has nanosec {nanosec}, expected 0 to 999999999: the driver fills the stamp wrongly'
    if sec == 0 and nanosec == 0:
        return 'stamp is zero: the driver does not set it, so results cannot be matched to other topics'
    return None
