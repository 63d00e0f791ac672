# SPDX-License-Identifier: Apache-2.0
"""The base class of errors that a user can fix."""


class ShuffleNetError(ValueError):
    """Bad input, or something is missing. The message names the value, what is expected and what to do.

    The command line prints it as one line. Any other exception that escapes is a bug.
    """
