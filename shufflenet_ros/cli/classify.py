"""Name what images, folders of images, videos and bags (ROS 1, db3, mcap) show, one line a frame.

A frame that cannot be decoded is reported and counted, and the exit status stays 0; a source that is
missing or a bag that is damaged ends the command with status 2.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from shufflenet_ros.backends.candidates import AUTO
from shufflenet_ros.bundles.locate import DEFAULT_MODEL
from shufflenet_ros.cli.annotated_video import AnnotatedVideo, check_target
from shufflenet_ros.cli.backend_options import add_backend_options
from shufflenet_ros.cli.progress import progress
from shufflenet_ros.core.classifier import Classifier
from shufflenet_ros.core.console import say, say_json
from shufflenet_ros.core.decode import decode
from shufflenet_ros.core.frame import DecodedImage, Options, Result
from shufflenet_ros.core.reasons import FrameError, Reason
from shufflenet_ros.datasets.sources import Source, SourceFrame, open_sources

STILL_RATE_HZ = 2.0  # of an annotated video that begins with still images

Outcome = Result | FrameError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the verb takes."""
    add = parser.add_argument
    add('sources', nargs='+', metavar='SOURCE', help='image, folder of images, video, or bag')
    add('--model', default=DEFAULT_MODEL, help='name or path of a bundle or ONNX file (default: %(default)s)')
    add('--card', default='', help="card file for somebody else's ONNX file")
    add_backend_options(parser, precision=AUTO)
    add('--topic', action='append', default=[], help='topic of a bag, repeatable (default: all with images)')
    add('--top-k', type=_count, default=5, help='labels a frame (default: %(default)s)')
    add('--json', action='store_true', help='one JSON object a frame')
    add('--embedding', action='store_true', help='with --json: the embedding too, scaled to length 1')
    add('--annotate', metavar='OUT.mp4', help='write a video with the labels drawn into every frame')
    add('--progress', action='store_true', help='progress bar even where stderr is no terminal')


def _count(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f'{text!r}: expected an integer in [1, 1000]')
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Classify every frame of every source.

    Raises:
        SourceError, BagError, ModelError, AnnotateError, WriteError: see there.
    """
    # Here, so that --help costs no onnxruntime.
    from shufflenet_ros.backends.load import load

    if args.annotate:
        check_target(args.annotate)
    sources = open_sources(args.sources, args.topic)
    model = load(args.model, card=args.card, backend=args.backend, precision=args.precision)
    say(model.terms, f'runs on {model.choice}', to=sys.stderr)
    classifier = Classifier(model.card, model.backend)
    options = Options(top_k=args.top_k, embedding=args.embedding)
    dropped: Counter[str] = Counter()
    damaged = 0
    with ExitStack() as stack:
        video = stack.enter_context(_video(args.annotate, sources[0])) if args.annotate else None
        for frame in _frames(sources, args.progress):
            image, outcome = answer(classifier, frame.message, options)
            if args.json:
                say_json(json_values(frame, outcome), flush=True)
            else:
                say(text_line(frame, outcome), flush=True)
            if image is not None and image.damage:
                _note_damage(frame, image.damage, damaged)
                damaged += 1
            if isinstance(outcome, FrameError):
                _note(frame, outcome, dropped)
            if video:
                video.add(image, *_caption(frame, outcome))
    if damaged:
        say(f'damaged {damaged} frames: answered all the same', to=sys.stderr)
    if dropped:
        counts = ', '.join(f'{reason} {count}' for reason, count in sorted(dropped.items()))
        say(f'dropped {dropped.total()} frames: {counts}', to=sys.stderr)
    return 0


def answer(classifier: Classifier, message: Any, options: Options) -> tuple[DecodedImage | None, Outcome]:
    """What the node would publish for this message, and its pixels; or why it would drop it."""
    if isinstance(message, FrameError):
        return None, message
    image = None
    try:
        image = decode(message, classifier.max_pixels)
        return image, classifier.classify_image(image, options)
    except FrameError as dropped:
        return image, dropped
    except MemoryError:
        return image, FrameError(Reason.NO_MEMORY, 'no memory left for this frame: use smaller images')


def json_values(frame: SourceFrame, outcome: Outcome) -> dict[str, Any]:
    """One frame as values for JSON; `embedding` is there where it was asked for and the model gives one."""
    line: dict[str, Any] = {
        'source': frame.source, 'topic': frame.topic, 'frame': frame.frame, 'stamp_ns': frame.stamp_ns,
        'predictions': [], 'dropped': None}
    if isinstance(outcome, FrameError):
        line['dropped'] = outcome.reason.value
    else:
        line['predictions'] = [asdict(prediction) | {'score': round(prediction.score, 6)}
                               for prediction in outcome.predictions]
        if outcome.embedding is not None:
            # Eight digits tell every float32 apart at this size.
            line['embedding'] = [float(f'{value:.8g}') for value in outcome.embedding]
    return line


def text_line(frame: SourceFrame, outcome: Outcome) -> str:
    """One frame as a line for people."""
    return f'{_place(frame)}: {_summary(outcome)}'


def _place(frame: SourceFrame) -> str:
    parts = [frame.source]
    if frame.topic is not None:
        parts += [frame.topic, '-' if frame.stamp_ns is None else f'{frame.stamp_ns / 1e9:.3f}']
    return ' '.join([*parts, f'#{frame.frame}'])


def _summary(outcome: Outcome) -> str:
    if isinstance(outcome, FrameError):
        return f'dropped, {outcome.reason}'
    return ', '.join(f'{label.name} {label.score:.3f}' for label in outcome.predictions)


def _note(frame: SourceFrame, dropped: FrameError, counts: 'Counter[str]') -> None:
    """Say in full on stderr why a frame was dropped, the first time for each reason."""
    if not counts[dropped.reason.value]:
        say(f'{_place(frame)}: {dropped} (more with this reason are only counted)', to=sys.stderr)
    counts[dropped.reason.value] += 1


def _note_damage(frame: SourceFrame, damage: str, before: int) -> None:
    """Say on stderr what the decoder warned about, the first time."""
    if not before:
        say(f'{_place(frame)}: damaged image ({damage}), answered all the same (more are only counted)',
            to=sys.stderr)


def _caption(frame: SourceFrame, outcome: Outcome) -> tuple[tuple[Any, ...], str]:
    title = f'{frame.topic or frame.source.rsplit("/", 1)[-1]} #{frame.frame}'
    if isinstance(outcome, FrameError):
        return (), f'{title}: {_summary(outcome)}'
    return outcome.predictions, title


def _video(path: str, first: Source) -> AnnotatedVideo:
    return AnnotatedVideo(path, first.rate_hz or STILL_RATE_HZ)


def _frames(sources: list[Source], bar: bool) -> Iterator[SourceFrame]:
    counts = [source.count for source in sources]
    total = None if None in counts else sum(count or 0 for count in counts)
    with progress(total, 'frame', bar) as advance:
        for source in sources:
            for frame in source.frames():
                yield frame
                advance()
