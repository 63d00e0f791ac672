"""The executable classify_node, but a camera's frame_id can hang it: in a wait, or in onnxruntime's C++."""

from __future__ import annotations

import sys
import threading
from typing import Any

from shufflenet_ros.core.classifier import Classifier
from shufflenet_ros.ros.main import main

_classify = Classifier.classify


def classify(self: Classifier, message: Any, options: Any) -> Any:
    """As ever, unless the frame says `wait` or `run`: then it never returns."""
    if message.header.frame_id == 'wait':
        threading.Event().wait()
    while message.header.frame_id == 'run':
        _classify(self, message, options)
    return _classify(self, message, options)


if __name__ == '__main__':
    Classifier.classify = classify  # type: ignore[method-assign]
    sys.exit(main())
