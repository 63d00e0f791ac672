# SPDX-License-Identifier: Apache-2.0
"""The pipeline of one frame, from message to result."""

import time
from typing import Any

from shufflenet_ros.core.card import Card
from shufflenet_ros.core.decode import decode
from shufflenet_ros.core.frame import Backend, DecodedImage, Options, Result, StageTimes
from shufflenet_ros.core.postprocess import top_predictions, unit_length
from shufflenet_ros.core.preprocess import preprocess

DEFAULT_MAX_PIXELS = 40_000_000


class Classifier:
    """A loaded model with its pipeline, as used by the node, the command line and evaluation."""

    def __init__(self, card: Card, backend: Backend, max_pixels: int = DEFAULT_MAX_PIXELS):
        self.card, self.backend, self.max_pixels = card, backend, max_pixels

    def classify(self, message: Any, options: Options) -> Result:
        """Classify any object with the fields of sensor_msgs/Image or CompressedImage.

        Raises:
            FrameError: the message cannot be decoded, or the model's outputs cannot be used.
        """
        started = time.perf_counter()
        image = decode(message, self.max_pixels)
        return self.classify_image(image, options, time.perf_counter() - started)

    def classify_image(self, image: DecodedImage, options: Options, decode_s: float = 0.0) -> Result:
        """Classify a decoded image.

        Args:
            decode_s: how long decoding took, for the result's times.

        Raises:
            FrameError: see `classify`.
        """
        t0 = time.perf_counter()
        tensor = preprocess(image, self.card.input)
        t1 = time.perf_counter()
        outputs = self.backend.run(tensor)
        t2 = time.perf_counter()
        predictions = top_predictions(outputs.logits, self.card.labels, options.top_k, options.min_score)
        embedding = outputs.embedding if options.embedding else None
        if embedding is not None and options.l2_normalize:
            embedding = unit_length(embedding)
        times = StageTimes(decode_s, t1 - t0, t2 - t1, time.perf_counter() - t2)
        return Result(image, predictions, embedding, times)
