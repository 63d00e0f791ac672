# SPDX-License-Identifier: Apache-2.0
"""Evaluate the claims, and write docs/claims.json, the tables of docs/claims.md and docs/claims.svg."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shufflenet_ros.core.files import write_whole

BEGIN, END = '<!-- python -m benchmarks.claims writes from here -->', '<!-- to here -->'
REPRODUCED, NOT_REPRODUCED, UNDECIDED = 'reproduced', 'not reproduced at this scale', 'needs two seeds'
OPPOSITE = f'{NOT_REPRODUCED}: the opposite'


@dataclass(frozen=True)
class Claim:
    """The claim that one network has a smaller error than another of the same cost."""

    text: str
    worse: str
    better: str


GROUPS = (Claim('g = 3 beats g = 1', 'g1', 'g3'), Claim('g = 8 beats g = 1', 'g1', 'g8'),
          Claim('g = 8 beats g = 3', 'g3', 'g8'))
SHUFFLE = (Claim('shuffle helps g = 3', 'g3_noshuffle', 'g3'),
           Claim('shuffle helps g = 8', 'g8_noshuffle', 'g8'))


@dataclass(frozen=True)
class ClaimResult:
    """The result of one claim.

    Attributes:
        gains: for each seed, the error of the worse network minus that of the better one, in points.
        mean, sd, error: of the gains, see `summary`.
        paper: the paper's gain; None if it does not compare these two.
        verdict: see `verdict`.
    """

    gains: tuple[float, ...]
    mean: float | None
    sd: float | None
    error: float | None
    paper: float | None
    verdict: str


def summary(values: Sequence[float]) -> tuple[float | None, float | None, float | None]:
    """Mean, sample standard deviation, standard error of the mean; None where there are too few values."""
    if len(values) < 2:
        return values[0] if values else None, None, None
    sd = statistics.stdev(values)
    return statistics.mean(values), sd, sd / math.sqrt(len(values))


def verdict(gains: Sequence[float]) -> str:
    """Reproduced if the mean gain exceeds twice its standard error."""
    mean, _, error = summary(gains)
    if mean is None or error is None:
        return UNDECIDED
    if mean > 2 * error:
        return REPRODUCED
    return OPPOSITE if -mean > 2 * error else NOT_REPRODUCED


def errors_of(report: Mapping[str, Any], network: str) -> list[float]:
    """A network's error in %, in the order of the seeds."""
    runs = sorted((r for r in report['runs'] if r['network'] == network), key=lambda r: r['seed'])
    return [round(100 - r['accuracy'], 2) for r in runs]


def evaluate(claim: Claim, report: Mapping[str, Any]) -> ClaimResult:
    """Pair the runs by seed, so that what a seed does to both is not part of the spread."""
    pairs = zip(errors_of(report, claim.worse), errors_of(report, claim.better), strict=True)
    gains = tuple(round(worse - better, 2) for worse, better in pairs)
    paper = [report['networks'][name]['paper_error'] for name in (claim.worse, claim.better)]
    return ClaimResult(gains, *summary(gains), None if None in paper else round(paper[0] - paper[1], 2),
                       verdict(gains))


def _number(value: float | None, form: str = '.2f') -> str:
    return '-' if value is None else format(value, form)


def _row(*cells: str) -> str:
    return f'| {" | ".join(cells)} |'


def tables(report: Mapping[str, Any]) -> str:
    """The part of docs/claims.md that is generated from claims.json."""
    rounds = len(report['runs']) // len(report['networks'])
    spent = sum(run['core_minutes'] for run in report['runs'])
    data = report['dataset']
    lines = [
        f'{len(report["runs"])} of {report["seeds"] * len(report["networks"])} runs are finished '
        f'({rounds} of {report["seeds"]} seeds): {spent:.0f} core-minutes of training on '
        f'{report["machine"]["cpu"]}, PyTorch {report["versions"]["torch"]}. Data: {data["file"]}, '
        f'{data["train"]} training and {data["val"]} validation images of {data["classes"]} '
        f'classes, {report["recipe"]["px"]} px, {report["recipe"]["epochs"]} epochs.', '',
        '| network | stages | MACs | parameters | error by seed, % | mean | spread | paper, % |',
        '|---|---|---|---|---|---|---|---|']
    for name, network in report['networks'].items():
        errors = errors_of(report, name)
        mean, sd, _ = summary(errors)
        lines.append(_row(
            name.replace('_noshuffle', ' without shuffle'), '/'.join(map(str, network['stages'])),
            f'{network["macs"] / 1e6:.3f}M', f'{network["params"]:,}', ', '.join(map(_number, errors)) or '-',
            _number(mean), _number(sd), _number(network['paper_error'], '.1f')))
    lines += ['', '| claim | gain by seed, points | mean gain | spread | standard error | paper | verdict |',
              '|---|---|---|---|---|---|---|']
    for claim in GROUPS + SHUFFLE:
        result = evaluate(claim, report)
        lines.append(_row(
            claim.text, ', '.join(_number(gain, '+.2f') for gain in result.gains) or '-',
            _number(result.mean, '+.2f'), _number(result.sd), _number(result.error),
            _number(result.paper, '+.1f'), result.verdict))
    return '\n'.join(lines)


def _panel(axes: Any, claims: Sequence[Claim], report: Mapping[str, Any]) -> None:
    for x, claim in enumerate(claims):
        result = evaluate(claim, report)
        if result.paper is not None:
            axes.plot(x + 0.18, result.paper, 'D', color='#c77700', markerfacecolor='none')
        axes.plot([x] * len(result.gains), result.gains, 'o', color='#0b6e99', alpha=0.5, markersize=5)
        if result.mean is None:
            continue
        axes.errorbar(x - 0.18, result.mean, None if result.error is None else 2 * result.error, fmt='_',
                      color='#333333', markersize=16, capsize=4)
        axes.annotate(_number(result.mean, '+.2f'), (x - 0.18, result.mean), (-9, 0),
                      textcoords='offset points', ha='right', va='center', fontsize=8)
    axes.axhline(0, color='#888888', linewidth=0.8)
    axes.set_xticks(range(len(claims)), [claim.text for claim in claims], fontsize=8)
    axes.set_xlim(-0.7, len(claims) - 0.5)
    axes.grid(axis='y', alpha=0.3)


def draw(report: Mapping[str, Any], path: Path) -> None:
    """Plot a panel for the groups and one for the shuffle: gains by seed, their mean, and the paper's."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    # Text stays text, and the same report gives the same file.
    with matplotlib.rc_context({'svg.fonttype': 'none', 'svg.hashsalt': 'claims'}):
        figure = Figure(figsize=(9, 3.6), layout='constrained')
        FigureCanvasSVG(figure)
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(len(GROUPS), len(SHUFFLE)))
        _panel(left, GROUPS, report)
        _panel(right, SHUFFLE, report)
        left.set_ylabel('error saved, points')
        left.set_title('more groups at equal cost', fontsize=10)
        right.set_title('shuffle against none', fontsize=10)
        figure.suptitle('dots: a seed each; bar: mean and two standard errors; diamond: the paper, ImageNet',
                        fontsize=8)
        figure.savefig(path, format='svg', metadata={'Date': None})


def write_report(report: Mapping[str, Any], docs: Path) -> None:
    """Write the three files; in claims.md only the part between its two markers."""
    docs.mkdir(parents=True, exist_ok=True)
    write_whole(docs / 'claims.json', (json.dumps(report, indent=1) + '\n').encode())
    page = docs / 'claims.md'
    text = page.read_text(encoding='utf-8') if page.exists() else f'{BEGIN}\n{END}\n'
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    write_whole(page, f'{before}{BEGIN}\n{tables(report)}\n{END}{after}'.encode())
    draw(report, docs / 'claims.svg')
