# SPDX-License-Identifier: Apache-2.0
"""Classify images, folders of images, videos and bags (ROS 1, db3, mcap): one line per frame.

A frame that cannot be decoded is reported and counted; the exit status stays 0. A missing source or a damaged
bag ends the command with status 2.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from shufflenet_ros.backends.load import load
from shufflenet_ros.bundles.variants import AUTO
from shufflenet_ros.cli.annotate import Add, annotating
from shufflenet_ros.cli.options import add_model_options, number, read_frames
from shufflenet_ros.core.classifier import Classifier
from shufflenet_ros.core.console import say, say_json
from shufflenet_ros.core.frame import DecodedImage, Options, Result
from shufflenet_ros.core.reasons import FrameError
from shufflenet_ros.datasets.score import try_classify
from shufflenet_ros.datasets.sources import SourceFrame, open_sources

STILL_RATE_HZ = 2.0  # of an annotated file that begins with still images


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add = parser.add_argument
    add('sources', nargs='+', metavar='SOURCE', help='image, folder of images, video, or bag')
    add_model_options(parser, precision=AUTO)
    add('--topic', action='append', default=[],
        help='topic of a bag; may be repeated (default: all image topics)')
    add('--top-k', type=number(int, 1, 1000, 'an integer in [1, 1000]'), default=5,
        help='predictions per frame (default: %(default)s)')
    add('--json', action='store_true', help='one JSON object per frame')
    add('--embedding', action='store_true', help='with --json: add the embedding, scaled to length 1')
    add('--annotate', metavar='OUT',
        help='write a video (OUT.mp4) or a bag for Foxglove (OUT.mcap) with the predictions on every frame')
    add('--progress', action='store_true', help='show the progress bar even if stderr is not a terminal')


def run(args: argparse.Namespace) -> int:
    """Classify every frame of every source.

    Raises:
        SourceError, BagError, ModelError, AnnotateError, WriteError: as their docstrings say.
    """
    sources = open_sources(args.sources, args.topic)
    with ExitStack() as stack:
        annotate = None
        if args.annotate:  # an unusable path is reported before a model is loaded
            rate_hz = sources[0].rate_hz or STILL_RATE_HZ
            annotate = stack.enter_context(annotating(Path(args.annotate), rate_hz))
        model = load(args.model, card=args.card, backend=args.backend, precision=args.precision)
        say(model.terms, f'runs on {model.choice}', to=sys.stderr)
        classifier = Classifier(model.card, model.backend)
        counts = _classify(classifier, read_frames(sources, args.progress), args, annotate)
    if damaged := counts.pop('damaged', 0):
        say(f'damaged {damaged} frames: still classified', to=sys.stderr)
    if counts:
        reasons = ', '.join(f'{reason} {count}' for reason, count in sorted(counts.items()))
        say(f'dropped {counts.total()} frames: {reasons}', to=sys.stderr)
    return 0


def _classify(classifier: Classifier, frames: Iterator[SourceFrame], args: argparse.Namespace,
              annotate: Add | None) -> Counter[str]:
    """Print and draw each frame. Count the problems, and report the first one of each kind."""
    options = Options(top_k=args.top_k, embedding=args.embedding)
    counts: Counter[str] = Counter()
    for frame in frames:
        image, result = try_classify(classifier, frame.message, options)
        if args.json:
            say_json(json_values(frame, result), flush=True)
        else:
            say(text_line(frame, result), flush=True)
        for kind, text in _problems(image, result):
            if not counts[kind]:
                say(f'{_position(frame)}: {text}', to=sys.stderr)
            counts[kind] += 1
        if annotate:
            annotate(frame, image, result)
    return counts


def _problems(image: DecodedImage | None, result: Result | FrameError) -> Iterator[tuple[str, str]]:
    """The kind and the text of what is wrong with a frame."""
    if image is not None and image.damage:
        yield 'damaged', f'damaged image ({image.damage}), still classified (more are only counted)'
    if isinstance(result, FrameError):
        yield result.reason.value, f'{result} (more with this reason are only counted)'


def json_values(frame: SourceFrame, result: Result | FrameError) -> dict[str, Any]:
    """One frame as values for JSON; with `embedding` if it was requested and the model has one."""
    line: dict[str, Any] = {
        'source': frame.source, 'topic': frame.topic, 'frame': frame.frame, 'stamp_ns': frame.stamp_ns,
        'predictions': [], 'dropped': None}
    if isinstance(result, FrameError):
        return line | {'dropped': result.reason.value}
    line['predictions'] = [asdict(prediction) | {'score': round(prediction.score, 6)}
                           for prediction in result.predictions]
    if result.embedding is not None:
        # Eight digits distinguish all float32 values of this size.
        line['embedding'] = [float(f'{value:.8g}') for value in result.embedding]
    return line


def text_line(frame: SourceFrame, result: Result | FrameError) -> str:
    """One frame as a line of text."""
    return f'{_position(frame)}: {_summary(result)}'


def _position(frame: SourceFrame) -> str:
    parts = [frame.source]
    if frame.topic is not None:
        parts += [frame.topic, '-' if frame.stamp_ns is None else f'{frame.stamp_ns / 1e9:.3f}']
    return ' '.join([*parts, f'#{frame.frame}'])


def _summary(result: Result | FrameError) -> str:
    if isinstance(result, FrameError):
        return f'dropped, {result.reason}'
    return ', '.join(f'{prediction.name} {prediction.score:.3f}' for prediction in result.predictions)
