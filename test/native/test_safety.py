# SPDX-License-Identifier: Apache-2.0
"""Damaged blobs are rejected, or run within their own memory, under AddressSanitizer and UBSan.

A blob that runs gives the same result for the same frame, whatever was in memory before.
The library's memory is one block. A build with sanitizers puts poisoned guards between its parts.
"""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from blob_networks import shuffle_v1, shuffle_v2
from native_context import BlobError, Context

from native.build import HERE, SANITIZERS, compile_objects, find_compiler
from shufflenet_ros.packer.blob import write_blob
from shufflenet_ros.packer.network import Network, Precision

MUTANTS = 10_000
MODELS = Path(__file__).parents[2] / 'models'
ALL, NONE = '0xffffffff', '0'  # features: for the CPU's best kernels, and for the plain ones


def as_float(network: Network, precision: Precision) -> Network:
    """The same operations with small weights in floating point."""
    ops = tuple(replace(op, weights=(op.weights / 64).astype(np.float32), bias=op.bias.astype(np.float32),
                        multiplier=None, residual_multiplier=0, unsigned=False,
                        relu=op.kind in ('stem', 'pointwise')) for op in network.ops)
    return replace(network, precision=precision, ops=ops)


V1 = shuffle_v1((64, 96), groups=2, stem=6, stages=((24, 2), (48, 2)), classes=7, seed=1)
V2 = shuffle_v2((96, 64), stem=8, stages=((13, 2), (20, 2)), last=36, classes=5, pool='end', seed=2)
BLOBS = {
    'v1-int8': write_blob(V1), 'v1-fp32': write_blob(as_float(V1, 'fp32')),
    'v2-int8': write_blob(V2), 'v2-fp32': write_blob(as_float(V2, 'fp32')),
    'v2-fp16': write_blob(as_float(V2, 'fp16')),
}


@pytest.fixture(scope='module')
def mutants(tmp_path_factory) -> Path:
    """The program, with the kernels that can run on most machines: AVX2 and plain ones."""
    folder = tmp_path_factory.mktemp('sanitized')
    compiler = find_compiler()
    objects = compile_objects(folder, compiler, sanitize=True, werror=True,
                              names=('avx2', 'neon', 'dot', 'half', 'c'))
    program = folder / 'mutants'
    source = Path(__file__).with_name('mutants.c')
    subprocess.run([*compiler, *SANITIZERS, '-I', str(HERE / 'include'), str(source), *map(str, objects),
                    '-o', str(program), '-lm'], check=True)
    return program


def test_ten_thousand_damaged_blobs_cause_no_finding(mutants, tmp_path):
    jobs = [(name, features) for name in BLOBS for features in (ALL, NONE)]

    def run(job: tuple[str, str]) -> tuple[int, str, int, int]:
        name, features = job
        blob = tmp_path / f'{name}.native'
        blob.write_bytes(BLOBS[name])
        done = subprocess.run([mutants, blob, str(MUTANTS // len(jobs)), '7', features], capture_output=True,
                              text=True, check=False)
        counts = [int(word) for word in done.stdout.split() if word.isdigit()] or [0, 0, 0]
        return done.returncode, done.stderr[-2000:], *counts[1:]

    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(run, jobs))
    for job, (status, finding, ran, unwritten) in zip(jobs, done, strict=True):
        assert status == 0, f'{job}: {finding}'
        # The good blob ran too. Enough mutants pass the checks and run, but most do not.
        assert MUTANTS // len(jobs) // 20 < ran < MUTANTS // len(jobs) // 2, job
        assert unwritten > MUTANTS // len(jobs) // 50, job
    print(f'{MUTANTS} mutants, {sum(ran for _, _, ran, _ in done)} of them ran, '
          f'{sum(unwritten for *_, unwritten in done)} would have read unwritten values')


@pytest.mark.parametrize(('kind', 'change'), [
    ('depthwise', {'relu': True}), ('stem', {'relu': False}), ('pointwise', {'unsigned': True}),
])
def test_flags_that_a_kind_does_not_have_are_rejected(kind, change):
    network = as_float(V1, 'fp32')
    Context(write_blob(network))
    ops = [replace(op, **change) if op.kind == kind else op for op in network.ops]
    with pytest.raises(BlobError, match='flags|without a ReLU'):
        Context(write_blob(replace(network, ops=tuple(ops))))


def without(network: Network, kind: str) -> Network:
    """The network without the last operation of this kind that writes only a part of a map."""
    partial = [i for i, op in enumerate(network.ops)
               if op.kind == kind and op.outputs < network.maps[op.target].channels]
    return replace(network, ops=network.ops[:partial[-1]] + network.ops[partial[-1] + 1:])


def changed(network: Network, index: int, **changes: object) -> Network:
    ops = list(network.ops)
    ops[index] = replace(ops[index], **changes)
    return replace(network, ops=tuple(ops))


UNWRITTEN = {
    'order': (replace(V1, ops=(V1.ops[0], V1.ops[2], V1.ops[1], *V1.ops[3:])),
              r'operation 1 reads channel 0 of map 1,'),
    'a sum with nothing': (changed(V1, 1, residual=True), r'operation 1 reads channel \d+ of map 1,'),
    'a part of v1': (without(V1, 'depthwise'), r'operation \d+ reads channel 24 of map \d+,'),
    'the other part of v1': (without(V1, 'pointwise'), r'operation \d+ reads channel 0 of map \d+,'),
    'a part of v2': (without(V2, 'copy'), r'operation \d+ reads channel \d+ of map \d+,'),
}


@pytest.mark.parametrize(('network', 'cause'), UNWRITTEN.values(), ids=UNWRITTEN)
def test_channels_that_nothing_has_written_are_not_read(network, cause):
    with pytest.raises(BlobError, match=f'{cause} which no earlier one has written'):
        Context(write_blob(network))


def test_a_table_has_each_channel_once():
    table = V2.ops[-2].table.copy()
    table[0] = table[1]
    with pytest.raises(BlobError, match=f'writes channel {table[1]} of map {V2.ops[-2].target} twice'):
        Context(write_blob(changed(V2, -2, table=table)))


@pytest.mark.parametrize('path', sorted(MODELS.glob('*.native')), ids=lambda path: path.stem)
def test_shipped_variants_load_and_repeat_themselves(path):
    model = Context(path.read_bytes())
    size = (model.info.height, model.info.width, 3)
    first, other = np.random.default_rng(0).integers(0, 256, (2, *size), np.uint8)
    outputs = model(first)
    model(other)
    for got, expected in zip(model(first), outputs, strict=True):
        np.testing.assert_array_equal(got, expected)
