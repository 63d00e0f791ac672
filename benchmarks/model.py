"""How long the default model takes for a camera frame, on one core (`python -m benchmarks.model`)."""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from demo.photos import PAN_SIZE, load_photos, pan
from shufflenet_ros.backends.load import load
from shufflenet_ros.bundles.locate import DEFAULT_MODEL
from shufflenet_ros.core.classifier import Classifier
from shufflenet_ros.core.frame import Options, Result

STAGES = ('decode', 'preprocess', 'inference', 'postprocess')


def measure(frames: int = 500, model: str = DEFAULT_MODEL) -> Mapping[str, Any]:
    """Milliseconds a 640x480 bgr8 frame, from message to labels, in all and by stage."""
    loaded = load(model)
    classifier = Classifier(loaded.card, loaded.backend)
    height, width = PAN_SIZE
    messages = [SimpleNamespace(height=height, width=width, encoding='bgr8', is_bigendian=0, step=3 * width,
                                data=image.reshape(-1)) for image in pan(load_photos()[0].read(), 20)]
    for message in messages:
        classifier.classify(message, Options())
    answers = [classifier.classify(messages[i % len(messages)], Options()) for i in range(frames)]
    values = {'model': loaded.card.name, 'frames': frames, 'width': width, 'height': height}
    return values | _percentiles('frame', [_total(answer) for answer in answers]) | {
        f'{stage}_p50_ms': round(statistics.median(1e3 * getattr(a.times, stage) for a in answers), 3)
        for stage in STAGES}


def _total(answer: Result) -> float:
    return float(sum(getattr(answer.times, stage) for stage in STAGES))


def _percentiles(name: str, seconds: list[float]) -> dict[str, float]:
    return {f'{name}_p{p}_ms': round(1e3 * float(np.percentile(seconds, p)), 3) for p in (50, 95)}


if __name__ == '__main__':
    argparse.ArgumentParser(prog='python -m benchmarks.model', description=__doc__).parse_args()
    print(json.dumps(measure()))
