# SPDX-License-Identifier: Apache-2.0
"""Verify many models, each in a fork of a process with the runtime loaded: 50 a second.

Reads pickled models from stdin. Prints one line per model: `ok`, `rejected`, or `died <signal>`.
"""

import os
import pickle
import sys

from shufflenet_ros.backends import ort  # noqa: F401  (loads the library once, before the forks)
from shufflenet_ros.backends.verify import ProcessLimits, set_limits, start, verify
from shufflenet_ros.bundles.variants import ResolvedModel


def outcome_of(model: ResolvedModel) -> str:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            set_limits(ProcessLimits().memory, ProcessLimits().cpu_s)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            verify(start(model), model)
            status = 0
        except Exception:
            status = 3
        finally:
            os._exit(status)
    _, ended = os.waitpid(child, 0)
    if os.WIFSIGNALED(ended):
        return f'died {os.WTERMSIG(ended)}'
    return {0: 'ok', 3: 'rejected'}.get(os.WEXITSTATUS(ended), f'status {os.WEXITSTATUS(ended)}')


if __name__ == '__main__':
    for each in pickle.load(sys.stdin.buffer):
        print(outcome_of(each), flush=True)
