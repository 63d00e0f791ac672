# SPDX-License-Identifier: Apache-2.0
"""Time of the default model for a camera frame, on one core (`python -m benchmarks.model`)."""

from __future__ import annotations

import argparse
import json
from types import SimpleNamespace
from typing import Any

import numpy as np

from shufflenet_ros.backends.load import load
from shufflenet_ros.bundles.locate import DEFAULT_MODEL
from shufflenet_ros.core.classifier import Classifier
from shufflenet_ros.core.frame import U8, Options
from shufflenet_ros.datasets.calibration import seeded_images

STAGES = ('decode', 'preprocess', 'inference', 'postprocess')
HEIGHT, WIDTH, FRAMES = 480, 640, 500


def camera_images() -> list[U8]:
    """Return 20 seeded images, (480, 640, 3) uint8; their content does not affect the time."""
    return [image.pixels for image in seeded_images((HEIGHT, WIDTH), 20)]


def measure() -> dict[str, Any]:
    """Return the milliseconds from a 640x480 bgr8 message to predictions, in total and per stage."""
    loaded = load(DEFAULT_MODEL)
    classifier = Classifier(loaded.card, loaded.backend)
    messages = [SimpleNamespace(height=HEIGHT, width=WIDTH, encoding='bgr8', is_bigendian=0, step=3 * WIDTH,
                                data=image.reshape(-1)) for image in camera_images()]
    for message in messages:
        classifier.classify(message, Options())
    times = [classifier.classify(messages[i % len(messages)], Options()).times for i in range(FRAMES)]
    ms = 1e3 * np.array([[getattr(t, stage) for stage in STAGES] for t in times])  # (frames, stages)
    p50, p95 = (round(float(value), 3) for value in np.percentile(ms.sum(1), (50, 95)))
    stages = {f'{stage}_p50_ms': round(float(p), 3) for stage, p in zip(STAGES, np.median(ms, 0))}
    return {'model': loaded.card.name, 'frames': FRAMES, 'width': WIDTH, 'height': HEIGHT,
            'frame_p50_ms': p50, 'frame_p95_ms': p95, **stages}


if __name__ == '__main__':
    argparse.ArgumentParser(prog='python -m benchmarks.model', description=__doc__).parse_args()
    print(json.dumps(measure()))
