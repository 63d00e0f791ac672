"""`python -m demo.run`: the real node classifies a real bag over real DDS, and everything is counted."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from demo import show
from demo.make_bag import TOPIC, bag_path, make_bag
from demo.plan import Segment, segment_at, stamp_of
from demo.processes import Child, dds_environment, node_command, replay_command
from demo.report import NodeCounts, Outcome, Result, last_line, right_by_photo, violated_invariants
from demo.timeline import draw_timeline
from demo.watch import Watcher
from demo.wheels import ROOT, DemoError

START_S = 30.0  # for the node to load and verify its model, on a slow machine
SETTLE_S = 10.0  # for the last results and the diagnostics that count them
# A reliable camera: what the node cannot look at yet waits here, two seconds of 25 Hz, so none is lost.
NODE_PARAMETERS = {'autostart': 'true', 'frame_policy': 'latest',
                   'image_qos.reliability': 'reliable', 'image_qos.depth': '50'}


class Scroll:
    """Prints every n-th result, and a heading where another part of the bag begins."""

    def __init__(self, segments: tuple[Segment, ...], every: int, clock_ns: Mapping[int, int]):
        self._segments, self._every, self._clock_ns = segments, every, clock_ns
        self._seen = 0
        self._current: Segment | None = None

    def __call__(self, result: Result) -> None:
        """Show this result, if its turn has come."""
        segment = segment_at(self._segments, result.stamp_ns)
        if segment is not self._current:
            self._current = segment
            print(f'-- {show.heading(segment)}', flush=True)
        if self._seen % self._every == 0:
            print(show.line(result, segment, self._clock_ns.get(result.stamp_ns)), flush=True)
        self._seen += 1


def run(model: str, seconds: float | None, every: int, out: Path) -> int:
    """Make the bag, run the node on it, report; 0 when every law holds, else 1.

    Raises:
        DemoError: there is no bag, or node or replay cannot run.
    """
    bag = bag_path(seconds)
    segments = make_bag(bag, seconds)
    os.environ.update(dds_environment())
    parameters = NODE_PARAMETERS | ({'model': model} if model else {})
    with Child(node_command(parameters, TOPIC), out / 'node.log') as node, Watcher() as watcher:
        wait_until_active(node, watcher)
        print(f'node active with {watcher.model}; log: {node.log}\n', flush=True)
        watcher.on_result = Scroll(segments, every, watcher.clock_ns)
        sent_ns = replay(bag, segments[-1].to_s, out / 'replay.log', node, watcher)
        counts = settle(len(sent_ns), node, watcher)
        outcome = Outcome(segments, sent_ns, watcher.clock_ns, tuple(watcher.results), counts)
    return report(outcome, bag, watcher.model, out)


def wait_until_active(node: Child, watcher: Watcher) -> None:
    """Return once the node is active and its diagnostics have been heard.

    Raises:
        DemoError: with the node's log, where it ends or takes longer than START_S.
    """
    def decided() -> bool:
        return node.ended() is not None or bool(watcher.failure or (watcher.model and watcher.is_active()))

    in_time = watcher.spin_until(decided, START_S)
    if watcher.failure:
        raise DemoError(f'the node is {watcher.failure}')
    if node.ended() is not None:
        raise DemoError(f'the node ended with status {node.ended()} before it was active. Its log:\n'
                        f'{node.last_words()}')
    if not in_time:
        raise DemoError(f'the node was not active after {START_S:g} s. Its log:\n{node.last_words()}')


def replay(bag: Path, duration_s: float, log: Path, node: Child, watcher: Watcher) -> tuple[int, ...]:
    """Publish the bag with its own timing; the stamps of the images that were sent.

    Raises:
        DemoError: the node died, or the replay failed or did not end.
    """
    with Child(replay_command(bag), log) as player:
        in_time = watcher.spin_until(lambda: node.ended() is not None or player.ended() is not None,
                                     2 * duration_s + START_S)
        check_alive(node)
        said = re.search(r'replayed (\d+) messages', player.last_words())
        if not in_time or player.ended() != 0 or said is None:
            raise DemoError(f'the replay of {bag} did not end as it should (status {player.ended()}). '
                            f'Its log:\n{player.last_words()}')
    return tuple(stamp_of(frame) for frame in range(int(said[1])))


def check_alive(node: Child) -> None:
    """Raise DemoError, with the node's log, where it has died."""
    if node.ended() is not None:
        raise DemoError(f'the node died with status {node.ended()}. Its log:\n{node.last_words()}')


def settle(frames: int, node: Child, watcher: Watcher) -> NodeCounts:
    """Wait for the last results and for diagnostics that count all frames; then what these say.

    Raises:
        DemoError: the node died, or its diagnostics never spoke of the camera.
    """
    def settled() -> bool:
        counts = watcher.counts()
        return (counts is not None and counts.received >= frames and len(watcher.results) >= counts.published
                and counts.received == counts.published + counts.dropped + counts.superseded)

    watcher.spin_until(lambda: node.ended() is not None or settled(), SETTLE_S)
    check_alive(node)
    counts = watcher.counts()
    if counts is None:
        raise DemoError(f'the node published no diagnostics of its camera. Its log:\n{node.last_words()}')
    return counts


def report(outcome: Outcome, bag: Path, model: str, out: Path) -> int:
    """Write video and image, print the shares, the broken laws and the last line; 0 or 1."""
    show.write_video(bag, outcome, out / 'annotated.mp4')
    draw_timeline(outcome, out / 'timeline.png', model)
    print(f'\nvideo:    {out / "annotated.mp4"}\npicture:  {out / "timeline.png"}\n')
    counted = {segment.name for segment in outcome.segments if segment.counted}
    for name, (right, frames) in right_by_photo(outcome).items():
        note = '' if name in counted else ', not counted: see demo/photos.yaml'
        print(f'{name:<8} right label in the top 3 on {right} of {frames} frames '
              f'({right / frames:.0%}){note}')
    broken = violated_invariants(outcome)
    for law in broken:
        print(f'demo: broken: {law}')
    print(last_line(outcome), flush=True)
    return 1 if broken else 0


def main() -> int:
    """Run the demo; 0 when every law holds, 1 when one is broken, 2 when it cannot run, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog='python -m demo.run', description=__doc__)
    parser.add_argument('--model', default='', help="a model's name or path instead of the default")
    parser.add_argument('--seconds', type=float, help='a shorter bag with the same parts')
    parser.add_argument('--every', type=int, default=10, help='show every n-th result (default 10)')
    parser.add_argument('--out', type=Path, default=ROOT / 'out' / 'demo', help='where video and image go')
    arguments = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # also where a shell has SIGINT ignored
        signal.signal(number, signal.default_int_handler)
    try:
        return run(arguments.model, arguments.seconds, arguments.every, arguments.out)
    except KeyboardInterrupt:
        print('demo: stopped', file=sys.stderr)
        return 130
    except DemoError as error:
        print(f'demo: error: {error}', file=sys.stderr)
        return 2


if __name__ == '__main__':
    sys.exit(main())
