# SPDX-License-Identifier: Apache-2.0
"""The environment variable with which Fast DDS finds a profile. Imports no ROS."""

from collections.abc import Mapping

FAST_DDS_2, FAST_DDS_3 = 'FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'


def profile_variable(environment: Mapping[str, str]) -> str:
    """The variable that the sourced distribution's Fast DDS reads: version 3 warns about the old one."""
    return FAST_DDS_2 if environment.get('ROS_DISTRO') in ('humble', 'iron', 'jazzy') else FAST_DDS_3


def variable_to_set(environment: Mapping[str, str]) -> str:
    """The same variable if none is set yet, else '': a given profile is left alone."""
    given = FAST_DDS_2 in environment or FAST_DDS_3 in environment
    return '' if given else profile_variable(environment)
