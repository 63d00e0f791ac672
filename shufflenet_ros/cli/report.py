# SPDX-License-Identifier: Apache-2.0
"""Write a page about bags, folders, images and videos: their labels over time, each frame on a click.

The page is one HTML file and needs no network. Frames that cannot be decoded are shown as dropped.
"""

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from shufflenet_ros.backends.load import LoadedModel, load
from shufflenet_ros.bundles.variants import AUTO
from shufflenet_ros.cli.options import add_model_options, read_frames
from shufflenet_ros.core.classifier import Classifier
from shufflenet_ros.core.console import say
from shufflenet_ros.core.files import check_regular, write_whole, writing
from shufflenet_ros.core.frame import Options, Result
from shufflenet_ros.core.reasons import FrameError
from shufflenet_ros.datasets.image_files import is_image_file
from shufflenet_ros.datasets.score import TOP_K, try_classify
from shufflenet_ros.datasets.sources import SourceError, SourceFrame, open_sources
from shufflenet_ros.pages.report import ReportFrame, Table, Thumbnails, report_page

_STAGES = ('decode', 'preprocess', 'inference')
_IMAGES = 'images'  # the track of image files
_MAX_AGE_NS = 60 * 10**9  # an older stamp is of another clock


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add = parser.add_argument
    add('sources', nargs='+', metavar='SOURCE', help='bag, folder of images, video, or image')
    add('-o', '--output', required=True, type=Path, metavar='OUT.html', help='the page')
    add_model_options(parser, precision=AUTO)
    add('--topic', action='append', default=[],
        help='topic of a bag; may be repeated (default: all image topics)')
    add('--title', default='', help='heading of the page (default: the names of the sources)')
    add('--progress', action='store_true', help='show the progress bar even if stderr is not a terminal')


def run(args: argparse.Namespace) -> int:
    """Classify every frame of every source, and write the page.

    Raises:
        SourceError, BagError, ModelError, WriteError: as their docstrings say.
    """
    with writing(args.output):  # an unusable path is reported before a model is loaded
        if args.output.exists():
            check_regular(args.output)
        tempfile.TemporaryFile(dir=args.output.parent).close()
    sources = open_sources(args.sources, args.topic)
    model = load(args.model, card=args.card, backend=args.backend, precision=args.precision)
    say(model.terms, f'runs on {model.choice}', to=sys.stderr)
    classifier, thumbnails = Classifier(model.card, model.backend), Thumbnails()
    frames = []
    for frame in read_frames(sources, args.progress):
        image, result = try_classify(classifier, frame.message, Options(top_k=TOP_K, embedding=False))
        frames.append(_row(frame, result))
        thumbnails.add(len(frames) - 1, frames[-1].track, image)
    if not frames:
        raise SourceError(f'{", ".join(args.sources)}: no frame was read, expected at least one; '
                          'check the file with another player')
    title = args.title or ', '.join(Path(source).name for source in args.sources)
    page = report_page(title, frames, thumbnails.jpegs, [_model_table(model)])
    write_whole(args.output, page.encode(errors='backslashreplace'))  # a file name need not be Unicode
    say(f'{args.output}: {len(frames)} frames, {len(page) / 1e6:.1f} MB', to=sys.stderr)
    return 0


def _row(frame: SourceFrame, result: Result | FrameError) -> ReportFrame:
    log_ns = frame.record.log_ns if frame.record else None
    track = frame.topic or (_IMAGES if is_image_file(frame.source) else frame.source)
    row = ReportFrame(track, frame.source, frame.frame, log_ns, frame.stamp_ns)
    if isinstance(result, FrameError):
        return replace(row, dropped=str(result.reason), detail=str(result))
    times_ms = {stage: 1e3 * getattr(result.times, stage) for stage in _STAGES}
    if log_ns is not None and frame.stamp_ns is not None and 0 < log_ns - frame.stamp_ns < _MAX_AGE_NS:
        times_ms['age when recorded'] = (log_ns - frame.stamp_ns) / 1e6
    return replace(row, times_ms=times_ms,
                   labels=tuple((best.name, best.score) for best in result.predictions))


def _model_table(model: LoadedModel) -> Table:
    card, training = model.card, model.card.training
    rows = {'name': card.name, 'network': card.network, 'classes': len(card.labels),
            'trained on': training.get('data'), 'terms': training.get('terms'), 'license': card.license,
            'source': card.source, 'SHA-256': model.sha256, 'runs on': model.choice}
    return Table('Model', (), [(name, value) for name, value in rows.items() if value], text=True)
