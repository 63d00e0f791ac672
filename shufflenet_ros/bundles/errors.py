# SPDX-License-Identifier: Apache-2.0
"""The error for everything that can be wrong with a model."""

from shufflenet_ros.core.errors import ShuffleNetError

MAX_GOT = 500


class ModelError(ShuffleNetError):
    """A model that cannot be used. The message has the file, what is expected, what was found, what to do."""


def mismatch(what: str, expected: str, got: str, remedy: str) -> ModelError:
    """A ModelError in the usual form; a long `got` is cut."""
    got = got if len(got) <= MAX_GOT else f'{got[:MAX_GOT]} ...'
    return ModelError(f'{what}: expected {expected}, got {got}; {remedy}')
