"""Judge the claims by their runs, and write docs/claims.json, the tables of docs/claims.md and claims.svg."""

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
REPRODUCED, NOT_REPRODUCED, UNJUDGED = 'reproduced', 'not reproduced at this scale', 'needs two seeds'
OPPOSITE = f'{NOT_REPRODUCED}: the opposite'


@dataclass(frozen=True)
class Claim:
    """That one network errs less than another of the same cost."""

    text: str
    worse: str
    better: str


GROUPS = (Claim('g = 3 beats g = 1', 'g1', 'g3'), Claim('g = 8 beats g = 1', 'g1', 'g8'),
          Claim('g = 8 beats g = 3', 'g3', 'g8'))
SHUFFLE = (Claim('shuffle helps g = 3', 'g3_noshuffle', 'g3'),
           Claim('shuffle helps g = 8', 'g8_noshuffle', 'g8'))


@dataclass(frozen=True)
class Verdict:
    """One claim, judged.

    Attributes:
        gains: error of the worse less that of the better, in points, a seed each.
        mean, sd, error: of the gains; the standard deviation is a sample's, the standard error of the mean.
            sd and error are None for less than two seeds, mean for none.
        paper: the paper's gain, None where it has no such pair.
        text: `verdict`'s.
    """

    gains: tuple[float, ...]
    mean: float | None
    sd: float | None
    error: float | None
    paper: float | None
    text: str


def verdict(gains: Sequence[float]) -> str:
    """Reproduced where the mean gain exceeds twice its standard error; its sign is then the paper's."""
    if len(gains) < 2:
        return UNJUDGED
    mean, error = statistics.mean(gains), statistics.stdev(gains) / math.sqrt(len(gains))
    if mean > 2 * error:
        return REPRODUCED
    return OPPOSITE if -mean > 2 * error else NOT_REPRODUCED


def errors_of(report: Mapping[str, Any], network: str) -> list[float]:
    """A network's error in %, in the order of the seeds."""
    runs = sorted((r for r in report['runs'] if r['network'] == network), key=lambda r: r['seed'])
    return [round(100 - r['accuracy'], 2) for r in runs]


def judge(claim: Claim, report: Mapping[str, Any]) -> Verdict:
    """Pair the runs by seed: what a seed does to both is then no part of the spread."""
    pairs = zip(errors_of(report, claim.worse), errors_of(report, claim.better), strict=True)
    gains = tuple(round(worse - better, 2) for worse, better in pairs)
    paper = [report['networks'][name]['paper_error'] for name in (claim.worse, claim.better)]
    sd = statistics.stdev(gains) if len(gains) > 1 else None
    return Verdict(gains, statistics.mean(gains) if gains else None, sd,
                   None if sd is None else sd / math.sqrt(len(gains)),
                   None if None in paper else round(paper[0] - paper[1], 2), verdict(gains))


def _number(value: float | None, sign: bool = False, digits: int = 2) -> str:
    if value is None:
        return '-'
    return f'{value:+.{digits}f}' if sign else f'{value:.{digits}f}'


def tables(report: Mapping[str, Any]) -> str:
    """The part of docs/claims.md that is made of claims.json."""
    rounds = len(report['runs']) // len(report['networks'])
    spent = sum(run['core_minutes'] for run in report['runs'])
    image = report['set']
    lines = [
        f'{len(report["runs"])} of {report["seeds"] * len(report["networks"])} runs are finished '
        f'({rounds} of {report["seeds"]} seeds): {spent:.0f} core-minutes of training on '
        f'{report["machine"]["cpu"]}, PyTorch {report["versions"]["torch"]}. Set: {image["file"]}, '
        f'{image["train"]} training and {image["val"]} validation images of {image["classes"]} '
        f'classes, {report["recipe"]["px"]} px, {report["recipe"]["epochs"]} epochs.', '',
        '| network | stages | MACs | parameters | error by seed, % | mean | spread | paper, % |',
        '|---|---|---|---|---|---|---|---|']
    for name, network in report['networks'].items():
        errors = errors_of(report, name)
        lines.append(' | '.join((
            f'| {name.replace("_noshuffle", " without shuffle")}', '/'.join(map(str, network['stages'])),
            f'{network["macs"] / 1e6:.3f}M', f'{network["params"]:,}',
            ', '.join(map(_number, errors)) or '-', _number(statistics.mean(errors) if errors else None),
            _number(statistics.stdev(errors) if len(errors) > 1 else None),
            f'{_number(network["paper_error"], digits=1)} |')))
    lines += ['', '| claim | gain by seed, points | mean gain | spread | standard error | paper | verdict |',
              '|---|---|---|---|---|---|---|']
    for claim in GROUPS + SHUFFLE:
        judged = judge(claim, report)
        lines.append(' | '.join((
            f'| {claim.text}', ', '.join(_number(g, sign=True) for g in judged.gains) or '-',
            _number(judged.mean, sign=True), _number(judged.sd), _number(judged.error),
            _number(judged.paper, sign=True, digits=1), f'{judged.text} |')))
    return '\n'.join(lines)


def _panel(axes: Any, claims: Sequence[Claim], report: Mapping[str, Any]) -> None:
    for place, claim in enumerate(claims):
        judged = judge(claim, report)
        if judged.paper is not None:
            axes.plot(place + 0.18, judged.paper, 'D', color='#c77700', markerfacecolor='none')
        axes.plot([place] * len(judged.gains), judged.gains, 'o', color='#0b6e99', alpha=0.5, markersize=5)
        if judged.mean is None:
            continue
        axes.errorbar(place - 0.18, judged.mean, None if judged.error is None else 2 * judged.error, fmt='_',
                      color='#333333', markersize=16, capsize=4)
        axes.annotate(_number(judged.mean, sign=True), (place - 0.18, judged.mean), (-9, 0),
                      textcoords='offset points', ha='right', va='center', fontsize=8)
    axes.axhline(0, color='#888888', linewidth=0.8)
    axes.set_xticks(range(len(claims)), [claim.text for claim in claims], fontsize=8)
    axes.set_xlim(-0.7, len(claims) - 0.5)
    axes.grid(axis='y', alpha=0.3)


def draw(report: Mapping[str, Any], path: Path) -> None:
    """A panel for the groups and one for the shuffle: gains by seed, their mean, and the paper's."""
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
    """Write the three files; of claims.md only what stands between its two marks."""
    docs.mkdir(parents=True, exist_ok=True)
    write_whole(docs / 'claims.json', (json.dumps(report, indent=1) + '\n').encode())
    page = docs / 'claims.md'
    text = page.read_text(encoding='utf-8') if page.exists() else f'{BEGIN}\n{END}\n'
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    write_whole(page, f'{before}{BEGIN}\n{tables(report)}\n{END}{after}'.encode())
    draw(report, docs / 'claims.svg')
