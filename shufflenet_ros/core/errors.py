"""The base of every error that a user can correct."""


class ShuffleNetError(ValueError):
    """Bad input or a missing part. The message names the value, what is expected and what to do.

    The command line prints it as one line; anything else that escapes is a defect of ours.
    """
