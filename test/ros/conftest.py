"""Lets this folder's tests share their helpers, which importlib mode would not find."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
