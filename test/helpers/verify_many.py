# SPDX-License-Identifier: Apache-2.0
"""Verify many models, each in a fork of a process with the runtime loaded: 50 a second.

Reads pickled bytes from the test on stdin; prints a line a model: `ok`, `refused`, or `died <signal>`.
"""

import os
import pickle
import sys
from pathlib import Path

from shufflenet_ros.backends import ort, verify  # noqa: F401  (loads the libraries once, before the forks)
from shufflenet_ros.backends.verify_in_subprocess import ProcessLimits, set_limits, verify_here


def outcome_of(card: bytes, data: bytes) -> str:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            set_limits(ProcessLimits().memory, ProcessLimits().cpu_s)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            verify_here(Path('mutant.onnx'), card, data)
            status = 0
        except Exception:
            status = 3
        finally:
            os._exit(status)
    _, ended = os.waitpid(child, 0)
    if os.WIFSIGNALED(ended):
        return f'died {os.WTERMSIG(ended)}'
    return {0: 'ok', 3: 'refused'}.get(os.WEXITSTATUS(ended), f'status {os.WEXITSTATUS(ended)}')


if __name__ == '__main__':
    text, models = pickle.load(sys.stdin.buffer)
    for model in models:
        print(outcome_of(text, model), flush=True)
