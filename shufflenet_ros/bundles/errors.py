# SPDX-License-Identifier: Apache-2.0
"""The error for everything that can be wrong with a model."""

from shufflenet_ros.core.errors import ShuffleNetError

MAX_GOT = 500


class ModelError(ShuffleNetError):
    """A model that cannot be used. The message names the file, what is expected, what it has, what to do."""


def mismatch(what: str, expected: str, got: str, remedy: str) -> ModelError:
    """An error in the one form that all have; `got` is cut to a few lines."""
    got = got if len(got) <= MAX_GOT else f'{got[:MAX_GOT]} ...'
    return ModelError(f'{what}: expected {expected}, got {got}; {remedy}')
