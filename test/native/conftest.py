"""The helpers of this folder, and of test/zoo, can be imported. One torch thread: a second one costs here."""

import sys
from pathlib import Path

try:
    import torch
    torch.set_num_threads(1)
except ModuleNotFoundError:
    pass  # The tests that need it skip themselves.

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / 'zoo')]
