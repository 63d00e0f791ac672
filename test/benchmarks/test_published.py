"""The figures in README and models/README are the measured ones."""

from __future__ import annotations

import json
import re

from shufflenet_ros.backends.bundle import open_bundle
from shufflenet_ros.backends.locate import DEFAULT_MODEL


def test_readme_quotes_docs_figures(repo_root):
    figures = json.loads((repo_root / 'docs' / 'figures.json').read_text())['figures']
    model, live, idle = (figures[name] for name in ('model', 'live', 'idle'))
    assert (model['width'], model['height'], live['rate_hz'], live['lost_on_the_way']) == (640, 480, 30.0, 0)
    quoted = (
        f'a 640x480 frame through the default model {model["frame_p50_ms"]:.1f} ms; '
        f'answers to a 30 Hz camera '
        f'{live["age_p50_ms"]:.1f} ms (p50) and {live["age_p99_ms"]:.1f} ms (p99) after arrival, none lost; '
        f'{idle["core_percent"]:.1f} % of a core while idle')
    assert quoted in (repo_root / 'README.md').read_text()


def test_models_readme_quotes_card_and_log(repo_root):
    metrics = open_bundle(DEFAULT_MODEL).card.metrics
    log = (repo_root / 'models' / f'{DEFAULT_MODEL}.log.jsonl').read_text().splitlines()
    epochs = [json.loads(line) for line in log]
    text = (repo_root / 'models' / 'README.md').read_text()
    assert f'{100 * metrics["top1"]:.1f} % top-1, {100 * metrics["top5"]:.1f} % top-5' in text
    ends = re.search(r'first 16 epochs end at ([0-9.]+) % top-1, the tail of 4 at ([0-9.]+) %', text)
    assert ends is not None
    assert [float(end) for end in ends.groups()] == [round(100 * epochs[i]['val_top1'], 1) for i in (15, -1)]
    assert len(epochs) == 20 and epochs[-1]['val_top1'] == metrics['top1']
