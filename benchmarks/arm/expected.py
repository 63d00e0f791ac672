# SPDX-License-Identifier: Apache-2.0
"""The counts that changes are checked against; `python -m benchmarks.arm.expected` counts and writes them.

They are exact for the compiler in the file. With another one only the limits apply.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.arm.count import measure
from benchmarks.arm.native_count import compiler_version
from benchmarks.arm.subject import reference
from shufflenet_ros.core.files import write_whole

FILE = Path(__file__).with_name('expected.json')
GROWTH = 1.01
"""Factor by which a count may grow with the same compiler."""

# network -> CPU -> precision -> largest count in million instructions, with any compiler
LIMITS: Mapping[str, Mapping[str, Mapping[str, float]]] = {
    'shufflenet_v1_x0_5_g3': {'cortex-a76': {'fp32': 14.5, 'fp16': 8.0, 'int8': 5.5},
                              'cortex-a72': {'fp32': 14.5}},
    'shufflenet_v1_x1_0_g3': {'cortex-a76': {'fp32': 48, 'fp16': 26, 'int8': 16}},
}


@dataclass(frozen=True)
class Expected:
    """The content of expected.json.

    Attributes:
        compiler: name and version.
        counts: network -> CPU -> precision -> instructions.
    """

    compiler: str
    counts: Mapping[str, Mapping[str, Mapping[str, int]]]


def read_expected() -> Expected:
    """Read expected.json."""
    return Expected(**json.loads(FILE.read_text()))


def count(network: str) -> dict[str, dict[str, int]]:
    """Return CPU -> precision -> instructions for each limit of a network.

    Raises:
        ModelError, PrepareError, EmulationError, WrongResultError: see measure.
    """
    subject = reference(network)
    return {cpu: {precision: result.instructions
                  for precision, result in measure(subject, 'native', cpu, list(limits)).items()}
            for cpu, limits in LIMITS[network].items()}


def exceeded(network: str, counts: Mapping[str, Mapping[str, int]], compiler: str, expected: Expected
             ) -> list[str]:
    """Return a line for each count that exceeds its limit or, with the same compiler, grew."""
    lines = []
    for cpu, limits in LIMITS[network].items():
        for precision, millions in limits.items():
            now, what = counts[cpu][precision], f'{network} {precision} on {cpu}'
            if now > millions * 1e6:
                lines.append(f'{what}: {now:,} instructions, expected at most {millions} million')
            before = expected.counts[network][cpu][precision]
            if compiler == expected.compiler and now > GROWTH * before:
                lines.append(f'{what}: {now:,} instructions, {now / before - 1:.1%} more than {before:,}; '
                             'if that is worth it, run `python -m benchmarks.arm.expected`')
    return lines


def main() -> int:
    """Count everything and write the file; return 1 if a limit is exceeded."""
    argparse.ArgumentParser(prog='python -m benchmarks.arm.expected', description=__doc__).parse_args()
    expected = Expected(compiler_version(), {network: count(network) for network in LIMITS})
    write_whole(FILE, (json.dumps(vars(expected), indent=1) + '\n').encode())
    print(FILE.read_text(), end='')
    lines = [line for network, counts in expected.counts.items()
             for line in exceeded(network, counts, expected.compiler, expected)]
    print(*lines, sep='\n', file=sys.stderr)
    return 1 if lines else 0


if __name__ == '__main__':
    sys.exit(main())
