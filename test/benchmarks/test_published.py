# SPDX-License-Identifier: Apache-2.0
"""README, docs/native.md and models/README quote the figures that were measured."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from shufflenet_ros.bundles.bundle import open_bundle
from shufflenet_ros.bundles.index import read_index
from shufflenet_ros.bundles.locate import DEFAULT_MODEL
from shufflenet_ros.bundles.variants import MAX_ACCURACY_LOSS, accuracy_loss
from shufflenet_ros.core.card import Card

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / 'models'
FIGURES = json.loads((ROOT / 'docs' / 'figures.json').read_text())['figures']
COUNTS = json.loads((ROOT / 'docs' / 'arm.json').read_text())['networks']


def test_readme_quotes_docs_figures():
    text = (ROOT / 'README.md').read_text()
    model, live, idle = (FIGURES[name] for name in ('model', 'live', 'idle'))
    assert (model['width'], model['height'], live['rate_hz'], live['lost_on_the_way']) == (640, 480, 30.0, 0)
    assert f'| x86, default model, 640x480 frame | {model["frame_p50_ms"]:.1f} ms |' in text
    ages = f'{live["age_p50_ms"]:.1f} ms (p50) and {live["age_p99_ms"]:.1f} ms (p99)'
    assert f'| x86, 30 Hz camera | results {ages} after arrival, none lost |' in text
    assert f'| x86, idle node | {idle["core_percent"]:.1f} % of a core |' in text


def test_the_native_page_quotes_counts_and_figures():
    text = (ROOT / 'docs' / 'native.md').read_text()
    rows = [line for line in text.splitlines() if re.match(r'\| (shufflenet_v|alexnet)', line)]
    assert len(rows) == len(COUNTS)
    for name, counts in COUNTS.items():
        onnxruntime, native = counts['onnxruntime']['fp32'], counts['native']
        cells = [f'{native[p] / 1e6:.1f} ({onnxruntime / native[p]:.1f}x)' if p in native else ''
                 for p in ('fp32', 'fp16', 'int8')]
        assert f'| {name} | {onnxruntime / 1e6:.1f} | {" | ".join(cells)} |' in rows
    native = FIGURES['native']
    assert (native['int8']['runs'], native['fp16']['runs']) == ('int8-avx2', 'fp16-as-fp32-avx2')
    assert (f'{native["int8"]["times_faster"]} times as fast in int8 as ONNX Runtime does in fp32, and '
            f'{native["fp16"]["times_faster"]} times in fp16') in text
    assert f'costs {native["call_us"]} us' in text
    slowest = max(chosen['percent_slower'] for chosen in FIGURES['auto'].values())
    assert f'at most {slowest} % slower than the best' in text and slowest <= 5


def test_readme_quotes_counts_and_ratios_with_engine_and_precision():
    text = (ROOT / 'README.md').read_text()

    def quoted(name: str) -> tuple[float, ...]:
        onnxruntime, native = COUNTS[name]['onnxruntime']['fp32'], COUNTS[name]['native']
        int8, fp32 = native['int8'], native['fp32']
        return int8 / 1e6, fp32 / 1e6, onnxruntime / 1e6, onnxruntime / int8, onnxruntime / fp32
    int8, fp32, onnxruntime, int8_times, fp32_times = quoted('shufflenet_v2_x1_0')
    assert (f'in int8 | {int8:.1f} M ARM instructions; ONNX Runtime in fp32 needs {onnxruntime:.1f} M '
            f'({int8_times:.1f} times) |') in text
    assert f'in fp32 | {fp32:.1f} M ({fp32_times:.1f} times) |' in text
    int8, fp32, onnxruntime, int8_times, fp32_times = quoted('shufflenet_v1_x0_5_g3')
    assert (f'{int8:.1f} M; {fp32:.1f} M; ONNX Runtime in fp32 {onnxruntime:.1f} M '
            f'({int8_times:.1f} and {fp32_times:.1f} times)') in text
    int8, fp16 = (FIGURES['native'][precision]['times_faster'] for precision in ('int8', 'fp16'))
    assert f'int8 {int8} times as fast, fp16 (computed in fp32 there) {fp16} times' in text


SMALL_MODEL = 'shufflenet_v1_x0_5_g3-tiny_imagenet-64'


def log_of(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (MODELS / f'{name}.log.jsonl').read_text().splitlines()]


def card_and_section(name: str) -> tuple[Card, str]:
    """A shipped model's card, and the section of models/README about it, which quotes the card."""
    card = open_bundle(str(MODELS / f'{name}.onnx')).card
    section = (MODELS / 'README.md').read_text().partition(f'\n## {name}')[2].partition('\n## ')[0]
    assert 'top-1 ' + ', '.join(f'{100 * variant.metrics["top1"]:.2f} % in {variant.precision}'
                                for variant in card.variants) in section
    assert f'{card.cost["macs"] / 1e6:.1f} M multiply-adds' in section
    assert {variant.metrics['images'] for variant in card.variants} == {card.metrics['images']}
    assert 'research' in card.training['terms']
    return card, section


def test_models_readme_quotes_the_default_models_card() -> None:
    card, section = card_and_section(DEFAULT_MODEL)
    metrics, original = card.metrics, card.metrics['original']
    assert (f'top-1 error {original["top1_error"]} %, top-5 error {original["top5_error"]} % on ImageNet'
            in section)
    top1, top5 = 100 * metrics['top1'], 100 * metrics['top5']
    assert f'top-1 {top1:.2f} %, top-5 {top5:.1f} % of 800 photos' in section and metrics['images'] == 800
    count = COUNTS['shufflenet_v2_x1_0']['native']['int8']
    assert f'{count / 1e6:.1f} M Cortex-A76 instructions in int8' in section
    assert card.license.startswith('BSD-3')


@pytest.mark.parametrize('name', sorted(read_index(MODELS)))
def test_auto_may_take_every_shipped_variant(name: str) -> None:
    """Each variant's loss is measured on the images that the graph was measured on, and is small."""
    card = open_bundle(str(MODELS / f'{name}.onnx')).card
    losses = {v.precision: accuracy_loss(card, v) for v in card.variants}
    assert losses.keys() == {'fp16', 'int8'}
    assert max(losses.values()) <= MAX_ACCURACY_LOSS, losses


@pytest.mark.parametrize('name', sorted(set(read_index(MODELS)) - {DEFAULT_MODEL}))
def test_models_readme_quotes_card_and_log(name: str) -> None:
    (card, section), log = card_and_section(name), log_of(name)
    metrics = card.metrics
    assert f'{100 * metrics["top1"]:.1f} % top-1, {100 * metrics["top5"]:.1f} % top-5' in section
    assert f'{sum(line["core_minutes"] for line in log):.0f} core-minutes' in section
    assert metrics['top1'] == pytest.approx(log[-1]['val_top1'], abs=2e-3), 'the last epoch, not the best'
    # The limits of each precision, on the whole validation set.
    points = {'fp16': 0.002, 'int8': 0.01}
    assert all(abs(v.metrics['top1'] - metrics['top1']) <= points[v.precision] for v in card.variants)
    assert 'the terms of their data' in card.license


def test_models_readme_quotes_the_small_models_run_with_and_without_teacher() -> None:
    log, without = log_of(SMALL_MODEL), log_of(f'{SMALL_MODEL}.no_teacher')
    names = 'the first 14 epochs|then the tail of 4 epochs|the same tail without the teacher'
    rows = re.findall(rf'^\| (?:{names}) \| ([0-9.]+) % \|', (MODELS / 'README.md').read_text(), re.MULTILINE)
    assert len(log) == 18 and len(without) == 4
    assert [float(top1) for top1 in rows] == [
        round(100 * line['val_top1'], 1) for line in (log[13], log[-1], without[-1])]


def test_models_stay_small() -> None:
    assert sum(file.stat().st_size for file in MODELS.iterdir()) < 25e6
