"""The counts that a change is held to; `python -m benchmarks.arm.expected` counts again and writes them.

They are exact for the compiler that they name. Under another one only the limits hold.
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
"""By what factor a count may grow under the named compiler."""

# network -> CPU -> precision -> the most instructions, in millions, under any compiler
LIMITS: Mapping[str, Mapping[str, Mapping[str, float]]] = {
    'shufflenet_v1_x0_5_g3': {'cortex-a76': {'fp32': 14.5, 'fp16': 8.0, 'int8': 5.5},
                              'cortex-a72': {'fp32': 14.5}},
    'shufflenet_v1_x1_0_g3': {'cortex-a76': {'fp32': 48, 'fp16': 26, 'int8': 16}},
}

Counts = Mapping[str, Mapping[str, Mapping[str, int]]]


@dataclass(frozen=True)
class Expected:
    """What expected.json says.

    Attributes:
        compiler: name and version of the one that the counts were taken with.
        counts: network -> CPU -> precision -> instructions.
    """

    compiler: str
    counts: Counts


def read_expected() -> Expected:
    """The kept counts."""
    return Expected(**json.loads(FILE.read_text()))


def count(network: str) -> dict[str, dict[str, int]]:
    """CPU -> precision -> instructions, for each limit of a network.

    Raises:
        ModelError, PrepareError, EmulationError, WrongResultError: see measure.
    """
    subject = reference(network)
    return {cpu: {precision: found.instructions
                  for precision, found in measure(subject, 'native', cpu, list(limits)).items()}
            for cpu, limits in LIMITS[network].items()}


def complaints(network: str, counts: Mapping[str, Mapping[str, int]], compiler: str, expected: Expected
               ) -> list[str]:
    """A line for each count that passes its limit or, under the same compiler, grew."""
    found = []
    for cpu, limits in LIMITS[network].items():
        for precision, millions in limits.items():
            now, what = counts[cpu][precision], f'{network} {precision} on {cpu}'
            if now > millions * 1e6:
                found.append(f'{what}: {now:,} instructions, expected at most {millions} million')
            before = expected.counts[network][cpu][precision]
            if compiler == expected.compiler and now > GROWTH * before:
                found.append(f'{what}: {now:,} instructions, {now / before - 1:.1%} more than {before:,}; '
                             'if that is worth it, run `python -m benchmarks.arm.expected`')
    return found


def main() -> int:
    """Count everything and write it down; 1 if a limit is passed."""
    argparse.ArgumentParser(prog='python -m benchmarks.arm.expected', description=__doc__).parse_args()
    counts = {network: count(network) for network in LIMITS}
    expected = Expected(compiler_version(), counts)
    write_whole(FILE, (json.dumps(vars(expected), indent=1) + '\n').encode())
    print(FILE.read_text(), end='')
    passed = [line for network in LIMITS
              for line in complaints(network, counts[network], expected.compiler, expected)]
    print(*passed, sep='\n', file=sys.stderr)
    return 1 if passed else 0


if __name__ == '__main__':
    sys.exit(main())
