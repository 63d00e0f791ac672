# SPDX-License-Identifier: Apache-2.0
"""Classify images, folders of images, videos and bags (ROS 1, db3, mcap): one line per frame.

A frame that cannot be decoded is reported and counted, and the exit status stays 0. A missing source or a
damaged bag ends the command with status 2.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from shufflenet_ros.bundles.locate import DEFAULT_MODEL
from shufflenet_ros.bundles.variants import AUTO
from shufflenet_ros.cli.annotated_video import AnnotatedVideo, check_video_path
from shufflenet_ros.cli.backend_options import add_backend_options
from shufflenet_ros.cli.progress import progress
from shufflenet_ros.core.classifier import Classifier
from shufflenet_ros.core.console import say, say_json
from shufflenet_ros.core.frame import DecodedImage, Options, Result
from shufflenet_ros.core.reasons import FrameError
from shufflenet_ros.datasets.score import try_classify
from shufflenet_ros.datasets.sources import Source, SourceFrame, open_sources

STILL_RATE_HZ = 2.0  # of an annotated video that begins with still images


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add = parser.add_argument
    add('sources', nargs='+', metavar='SOURCE', help='image, folder of images, video, or bag')
    add('--model', default=DEFAULT_MODEL, help='name or path of a bundle or ONNX file (default: %(default)s)')
    add('--card', default='', metavar='FILE', help='card file for an ONNX file without a card')
    add_backend_options(parser, precision=AUTO)
    add('--topic', action='append', default=[],
        help='topic of a bag; may be repeated (default: all image topics)')
    add('--top-k', type=_count, default=5, help='predictions per frame (default: %(default)s)')
    add('--json', action='store_true', help='one JSON object per frame')
    add('--embedding', action='store_true', help='with --json: add the embedding, scaled to length 1')
    add('--annotate', metavar='OUT.mp4', help='write a video with the predictions drawn on every frame')
    add('--progress', action='store_true', help='show the progress bar even if stderr is not a terminal')


def _count(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f'{text!r}: expected an integer in [1, 1000]')
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Classify every frame of every source.

    Raises:
        SourceError, BagError, ModelError, AnnotateError, WriteError: as their docstrings say.
    """
    # Imported here so that --help does not load onnxruntime.
    from shufflenet_ros.backends.load import load

    if args.annotate:
        check_video_path(args.annotate)
    sources = open_sources(args.sources, args.topic)
    model = load(args.model, card=args.card, backend=args.backend, precision=args.precision)
    say(model.terms, f'runs on {model.choice}', to=sys.stderr)
    classifier = Classifier(model.card, model.backend)
    options = Options(top_k=args.top_k, embedding=args.embedding)
    counts: Counter[str] = Counter()
    with ExitStack() as stack:
        video = None
        if args.annotate:
            video = stack.enter_context(AnnotatedVideo(args.annotate, sources[0].rate_hz or STILL_RATE_HZ))
        for frame in _frames(sources, args.progress):
            image, result = try_classify(classifier, frame.message, options)
            if args.json:
                say_json(json_values(frame, result), flush=True)
            else:
                say(text_line(frame, result), flush=True)
            _report_problems(frame, image, result, counts)
            if video:
                predictions = () if isinstance(result, FrameError) else result.predictions
                video.add(image, predictions, _title(frame, result))
    if damaged := counts.pop('damaged', 0):
        say(f'damaged {damaged} frames: still classified', to=sys.stderr)
    if counts:
        reasons = ', '.join(f'{reason} {count}' for reason, count in sorted(counts.items()))
        say(f'dropped {counts.total()} frames: {reasons}', to=sys.stderr)
    return 0


def _frames(sources: list[Source], bar: bool) -> Iterator[SourceFrame]:
    counts = [source.count for source in sources]
    total = None if None in counts else sum(count or 0 for count in counts)
    with progress(total, 'frame', bar) as advance:
        for source in sources:
            for frame in source.frames():
                yield frame
                advance()


def json_values(frame: SourceFrame, result: Result | FrameError) -> dict[str, Any]:
    """One frame as values for JSON; with `embedding` if it was requested and the model has one."""
    line: dict[str, Any] = {
        'source': frame.source, 'topic': frame.topic, 'frame': frame.frame, 'stamp_ns': frame.stamp_ns,
        'predictions': [], 'dropped': None}
    if isinstance(result, FrameError):
        line['dropped'] = result.reason.value
    else:
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


def _title(frame: SourceFrame, result: Result | FrameError) -> str:
    title = f'{frame.topic or frame.source.rsplit("/", 1)[-1]} #{frame.frame}'
    return f'{title}: {_summary(result)}' if isinstance(result, FrameError) else title


def _report_problems(frame: SourceFrame, image: DecodedImage | None, result: Result | FrameError,
                     counts: Counter[str]) -> None:
    """Count damaged and dropped frames; report the first damaged frame, and the first of each reason."""
    if image is not None and image.damage:
        if not counts['damaged']:
            say(f'{_position(frame)}: damaged image ({image.damage}), still classified (more are only '
                'counted)', to=sys.stderr)
        counts['damaged'] += 1
    if isinstance(result, FrameError):
        if not counts[result.reason.value]:
            say(f'{_position(frame)}: {result} (more with this reason are only counted)', to=sys.stderr)
        counts[result.reason.value] += 1
