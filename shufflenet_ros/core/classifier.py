"""One frame's way from message to answer, in one glance."""

import time
from typing import Any

from shufflenet_ros.core.card import Card
from shufflenet_ros.core.decode import decode
from shufflenet_ros.core.frame import Backend, DecodedImage, Options, Result, StageTimes
from shufflenet_ros.core.postprocess import top_predictions, unit_length
from shufflenet_ros.core.preprocess import preprocess

DEFAULT_MAX_PIXELS = 40_000_000


class Classifier:
    """A model ready to answer: the node, the command line and evaluation all use this."""

    def __init__(self, card: Card, backend: Backend, max_pixels: int = DEFAULT_MAX_PIXELS):
        self.card, self.backend, self.max_pixels = card, backend, max_pixels

    def classify(self, message: Any, options: Options) -> Result:
        """Result for any object with the fields of sensor_msgs/Image or CompressedImage.

        Raises:
            FrameError: the message cannot be decoded, or the model's answer cannot be used.
        """
        started = time.perf_counter()
        image = decode(message, self.max_pixels)
        return self._answer(image, options, time.perf_counter() - started)

    def classify_image(self, image: DecodedImage, options: Options) -> Result:
        """Result for pixels that are decoded already.

        Raises:
            FrameError: see `classify`.
        """
        return self._answer(image, options, decode_time=0.0)

    def _answer(self, image: DecodedImage, options: Options, decode_time: float) -> Result:
        t0 = time.perf_counter()
        tensor = preprocess(image, self.card.input)
        t1 = time.perf_counter()
        outputs = self.backend.run(tensor)
        t2 = time.perf_counter()
        labels = top_predictions(outputs.logits, self.card.labels, options.top_k, options.min_score)
        embedding = outputs.embedding if options.embedding else None
        if embedding is not None and options.l2_normalize:
            embedding = unit_length(embedding)
        times = StageTimes(decode_time, t1 - t0, t2 - t1, time.perf_counter() - t2)
        return Result(image, labels, embedding, times)
