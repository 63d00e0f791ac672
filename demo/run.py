# SPDX-License-Identifier: Apache-2.0
"""`python -m demo.run`: the real node classifies a real bag over real DDS, and everything is counted."""

from __future__ import annotations

import argparse
import re
import signal
import sys
from pathlib import Path

from demo.content import ROOT, stamp_of
from demo.make_bag import TOPIC, make_bag
from demo.show import ResultPrinter, draw_timeline, write_video
from demo.summary import DemoRun, violated_invariants
from scripts.rig.processes import ChildProcess
from scripts.rig.watcher import START_S, Watcher, active_node, settle
from shufflenet_ros.core.errors import ShuffleNetError

# A reliable camera. Images wait in the subscription, up to two seconds at 25 Hz, so that none is lost.
NODE_PARAMETERS = {'frame_policy': 'latest', 'image_qos.reliability': 'reliable', 'image_qos.depth': '50'}


def run(model: str, seconds: float | None, every: int, out: Path) -> int:
    """Make the bag, run the node on it and report; return 0 if every invariant holds, else 1.

    Raises:
        DemoError: the bag cannot be made.
        ProcessError: the node or the replay cannot run.
    """
    bag, segments = make_bag(seconds)
    parameters = NODE_PARAMETERS | ({'model': model} if model else {})
    with active_node(parameters, TOPIC, out / 'node.log') as (node, watcher):
        print(f'node active with {watcher.model}; log: {node.log}\n', flush=True)
        watcher.on_result = ResultPrinter(segments, every, watcher.clock_ns)
        sent_ns = replay(bag, segments[-1].to_s, out / 'replay.log', node, watcher)
        counts = settle(len(sent_ns), node, watcher)
        demo_run = DemoRun(segments, sent_ns, watcher.clock_ns, tuple(watcher.results), counts)
    return report(demo_run, bag, watcher.model, out)


def replay(bag: Path, duration_s: float, log: Path, node: ChildProcess, watcher: Watcher) -> tuple[int, ...]:
    """Publish the bag at its recorded rate; return the stamps of the images that were sent.

    Raises:
        ProcessError: the node ended, or the replay failed or did not end.
    """
    # It starts once the node listens, and the watcher listens to /clock.
    command = [sys.executable, '-m', 'shufflenet_ros.cli', 'replay', str(bag), '--wait-for-subscribers', '1',
               '--wait-for-clock']
    with ChildProcess(command, log) as player:
        watcher.spin_until(lambda: node.status is not None or player.status is not None,
                           2 * duration_s + START_S)
        node.check_running()
        replayed = re.search(r'replayed (\d+) messages', player.log_tail())
        if player.status != 0 or replayed is None:
            raise player.error(f'the replay of {bag} failed or did not end (status {player.status})')
    return tuple(stamp_of(frame) for frame in range(int(replayed[1])))


def report(demo_run: DemoRun, bag: Path, model: str, out: Path) -> int:
    """Write video and plot; print the shares, violated invariants and the last line; return 0 or 1."""
    write_video(bag, demo_run, out / 'annotated.mp4')
    draw_timeline(demo_run, out / 'timeline.png', model)
    print(f'\nvideo: {out / "annotated.mp4"}\nplot:  {out / "timeline.png"}\n')
    counted = {segment.name for segment in demo_run.segments if segment.counted}
    for name, (right, frames) in demo_run.right_frames().items():
        note = '' if name in counted else ', not counted: see demo/photos.yaml'
        print(f'{name:<8} right label in the top 3 on {right} of {frames} frames '
              f'({right / frames:.0%}){note}')
    violated = violated_invariants(demo_run)
    for invariant in violated:
        print(f'demo: violated: {invariant}')
    print(demo_run.last_line(), flush=True)
    return 1 if violated else 0


def main() -> int:
    """Run the demo; return 0 if every invariant holds, 1 if not, 2 if it cannot run, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog='python -m demo.run', description=__doc__)
    parser.add_argument('--model', default='', help='name or path of a model instead of the default one')
    parser.add_argument('--seconds', type=float, help='a shorter bag with the same segments')
    parser.add_argument('--every', type=int, default=10, help='print every n-th result (default 10)')
    parser.add_argument('--out', type=Path, default=ROOT / 'out' / 'demo', help='where video and plot go')
    arguments = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell may have set SIGINT to be ignored
        signal.signal(number, signal.default_int_handler)
    try:
        return run(arguments.model, arguments.seconds, arguments.every, arguments.out)
    except KeyboardInterrupt:
        print('demo: stopped', file=sys.stderr)
        return 130
    except ShuffleNetError as error:
        print(f'demo: error: {error}', file=sys.stderr)
        return 2


if __name__ == '__main__':
    sys.exit(main())
