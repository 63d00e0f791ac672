"""The figures in README and models/README are the measured ones."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from shufflenet_ros.backends.candidates import MAX_ACCURACY_LOSS, accuracy_loss
from shufflenet_ros.bundles.bundle import open_bundle
from shufflenet_ros.bundles.index import read_index
from shufflenet_ros.bundles.locate import DEFAULT_MODEL

MODELS = Path(__file__).resolve().parents[2] / 'models'


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


def test_the_native_page_quotes_counts_and_figures(repo_root):
    text = (repo_root / 'docs' / 'native.md').read_text()
    counts = json.loads((repo_root / 'docs' / 'arm.json').read_text())['networks']
    rows = [line for line in text.splitlines() if re.match(r'\| (shufflenet_v|alexnet)', line)]
    assert len(rows) == len(counts)
    for name, found in counts.items():
        stock = found['onnxruntime']['fp32']
        ours = [f'{found["native"][p] / 1e6:.1f} ({stock / found["native"][p]:.1f}x)'
                if p in found['native'] else '' for p in ('fp32', 'fp16', 'int8')]
        assert f'| {name} | {stock / 1e6:.1f} | {" | ".join(ours)} |' in rows
    figures = json.loads((repo_root / 'docs' / 'figures.json').read_text())['figures']
    native = figures['native']
    assert (native['int8']['runs'], native['fp16']['runs']) == ('int8-avx2', 'fp16-as-fp32-avx2')
    assert (f'{native["int8"]["times_faster"]} times as fast in int8 as ONNX Runtime does in fp32, and '
            f'{native["fp16"]["times_faster"]} times in fp16') in text
    assert f'costs {native["call_us"]} us' in text
    slowest = max(chosen['percent_slower'] for chosen in figures['auto'].values())
    assert f'at most {slowest} % slower than the best' in text and slowest <= 5


def test_readme_quotes_counts_and_ratios_with_engine_and_precision(repo_root):
    text = (repo_root / 'README.md').read_text()
    counts = json.loads((repo_root / 'docs' / 'arm.json').read_text())['networks']

    def of(name: str, precision: str) -> tuple[str, str]:
        stock, ours = counts[name]['onnxruntime']['fp32'], counts[name]['native'][precision]
        return f'{ours / 1e6:.1f} M', f'{stock / ours:.1f}'
    default, small = 'shufflenet_v2_x1_0', 'shufflenet_v1_x0_5_g3'
    for precision in ('int8', 'fp32'):
        assert f'{of(default, precision)[0]}' in text and f'({of(default, precision)[1]} times)' in text
    assert (f'{of(small, "int8")[0]}; {of(small, "fp32")[0]}; ONNX Runtime in fp32 29.7 M '
            f'({of(small, "int8")[1]} and {of(small, "fp32")[1]} times)') in text
    native = json.loads((repo_root / 'docs' / 'figures.json').read_text())['figures']['native']
    assert f'int8 {native["int8"]["times_faster"]} times as fast, fp16 (widened' in text


def log_of(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f'{name}.log.jsonl').read_text().splitlines()]


SMALL_MODEL = 'shufflenet_v1_x0_5_g3-tiny_imagenet-64'


def section_of(name: str) -> str:
    """What models/README says of one model."""
    _, _, section = (MODELS / 'README.md').read_text().partition(f'\n## {name}')
    return section.partition('\n## ')[0]


def top1_of(name: str) -> dict[str, dict[str, Any]]:
    """The figures of each native variant of a bundle."""
    return {v.precision: dict(v.metrics) for v in open_bundle(str(MODELS / f'{name}.onnx')).card.variants}


def test_models_readme_quotes_the_default_models_card() -> None:
    card, section = open_bundle(DEFAULT_MODEL).card, section_of(DEFAULT_MODEL)
    metrics, original, variants = card.metrics, card.metrics['original'], top1_of(DEFAULT_MODEL)
    assert (f'top-1 error {original["top1_error"]} %, top-5 error {original["top5_error"]} % on ImageNet'
            in section)
    top1, top5 = 100 * metrics['top1'], 100 * metrics['top5']
    assert f'top-1 {top1:.2f} %, top-5 {top5:.1f} % of 800 photos' in section
    assert 'top-1 ' + ', '.join(f'{100 * variants[p]["top1"]:.2f} % in {p}' for p in variants) in section
    assert {metrics['images'], *(v['images'] for v in variants.values())} == {800}
    assert f'{card.cost["macs"] / 1e6:.1f} M multiply-adds' in section
    counts = json.loads((MODELS.parent / 'docs' / 'arm.json').read_text())['networks']['shufflenet_v2_x1_0']
    assert f'{counts["native"]["int8"] / 1e6:.1f} M Cortex-A76 instructions in int8' in section
    assert 'research' in card.training['terms'] and card.license.startswith('BSD-3')


@pytest.mark.parametrize('name', sorted(read_index(MODELS)))
def test_auto_may_take_every_shipped_variant(name: str) -> None:
    """Each variant's loss is measured on the images that the graph was measured on, and is small."""
    card = open_bundle(str(MODELS / f'{name}.onnx')).card
    losses = {v.precision: accuracy_loss(card, v) for v in card.variants}
    assert losses.keys() == {'fp16', 'int8'}
    assert max(losses.values()) <= MAX_ACCURACY_LOSS, losses


@pytest.mark.parametrize('name', sorted(set(read_index(MODELS)) - {DEFAULT_MODEL}))
def test_models_readme_quotes_card_and_log(name: str) -> None:
    card, log = open_bundle(str(MODELS / f'{name}.onnx')).card, log_of(MODELS, name)
    section, metrics, variants = section_of(name), card.metrics, top1_of(name)
    assert f'{100 * metrics["top1"]:.1f} % top-1, {100 * metrics["top5"]:.1f} % top-5' in section
    assert f'{sum(line["core_minutes"] for line in log):.0f} core-minutes' in section
    assert f'{card.cost["macs"] / 1e6:.1f} M multiply-adds' in section
    assert metrics['top1'] == pytest.approx(log[-1]['val_top1'], abs=2e-3), 'the last epoch, not the best'
    assert 'top-1 ' + ', '.join(f'{100 * variants[p]["top1"]:.2f} % in {p}' for p in variants) in section
    # The limits of each precision, on the whole validation set.
    for precision, points in (('fp16', 0.002), ('int8', 0.01)):
        assert variants[precision]['images'] == metrics['images']
        assert abs(variants[precision]['top1'] - metrics['top1']) <= points
    assert 'research' in card.training['terms'] and 'the terms of their data' in card.license


def test_the_small_models_run_and_what_its_teacher_gave() -> None:
    log, without = log_of(MODELS, SMALL_MODEL), log_of(MODELS, f'{SMALL_MODEL}.no_teacher')
    text = (MODELS / 'README.md').read_text()
    said = re.search(
        r'The first 14 epochs end at ([0-9.]+) % top-1, the tail of 4 at ([0-9.]+) %; the same tail without '
        r'the teacher at ([0-9.]+) %', ' '.join(text.split()))
    assert said is not None and len(log) == 18 and len(without) == 4
    assert [float(end) for end in said.groups()] == [
        round(100 * line['val_top1'], 1) for line in (log[13], log[-1], without[-1])]


def test_models_stay_small() -> None:
    assert sum(file.stat().st_size for file in MODELS.iterdir()) < 25e6
