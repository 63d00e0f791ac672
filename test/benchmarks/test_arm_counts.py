# SPDX-License-Identifier: Apache-2.0
"""ARM instruction counts do not grow, and the counter counts right."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from benchmarks.arm import count as arm_count
from benchmarks.arm import emulate, expected, native_count, prepare, subject

pytestmark = pytest.mark.usefixtures('arm_tools')

ORT_MODEL = 'models/shufflenet_v1_x0_5_g3-tiny_imagenet-64.onnx'
ORT_INSTRUCTIONS = {'1.32.0': 9_667_000}
LOOP = """
#include <unistd.h>
int main(void) {
    for (int inference = 0; inference < 3; inference++) {
        getppid();
        for (int i = 0; i < TIMES; i++) __asm__ volatile("nop\\n nop\\n nop");
        getppid();
    }
}
"""


def test_every_instruction_is_counted(tmp_path):
    counted = {}
    for times in (100, 1100):
        source, program = tmp_path / 'loop.c', tmp_path / f'loop{times}'
        source.write_text(LOOP)
        subprocess.run([prepare.CROSS_COMPILER, '-O1', '-static', f'-DTIMES={times}', '-o', program, source],
                       check=True)
        for cpu in emulate.CPUS:
            begin, end = emulate.inference_marks(emulate.emulate(cpu, [program])[0])
            counted[cpu, times] = end - begin
    # Three nops, a subtraction and a branch
    assert {counted[cpu, 1100] - counted[cpu, 100] for cpu in emulate.CPUS} == {5000}
    assert counted['cortex-a76', 100] == counted['cortex-a72', 100]


@pytest.mark.parametrize('network', expected.LIMITS)
def test_no_count_grows(network):
    pytest.importorskip('torch')
    kept, compiler = expected.read_expected(), native_count.compiler_version()
    if compiler != kept.compiler:
        warnings.warn(f'counts were kept with {kept.compiler}, this is {compiler}: only the limits are '
                      'checked', stacklevel=1)
    lines = expected.exceeded(network, expected.count(network), compiler, kept)
    assert not lines, '\n'.join(lines)


def test_growth_and_exceeded_limits_are_reported():
    network, limit = 'shufflenet_v1_x0_5_g3', 14_500_000
    kept = expected.read_expected()
    before = kept.counts[network]
    assert not expected.exceeded(network, before, kept.compiler, kept)

    def with_fp32(instructions):
        return {**before, 'cortex-a72': {'fp32': instructions}}

    grown = with_fp32(int(before['cortex-a72']['fp32'] * 1.011))
    assert 'python -m benchmarks.arm.expected' in expected.exceeded(network, grown, kept.compiler, kept)[0]
    assert not [line for line in expected.exceeded(network, grown, 'gcc 99', kept) if 'more than' in line]
    beyond = expected.exceeded(network, with_fp32(limit + 1), 'gcc 99', kept)
    assert beyond == [f'{network} fp32 on cortex-a72: 14,500,001 instructions, expected at most 14.5 million']


def test_the_command_line_counts_onnxruntime(repo_root):
    try:
        guest = prepare.ensure_guest()
    except prepare.PrepareError as error:
        if os.environ.get('CI'):
            raise
        pytest.skip(str(error))
    command = [sys.executable, 'benchmarks/arm/count.py', '--model', ORT_MODEL, '--backend', 'onnxruntime',
               '--json']
    done = subprocess.run(command, cwd=repo_root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert set(report) == {'model', 'cpu', 'instructions', 'backend'}
    assert (report['model'], report['cpu']) == (Path(ORT_MODEL).stem, 'cortex-a76')
    version = guest.name.removeprefix('guest-')
    if version in ORT_INSTRUCTIONS:
        assert report['instructions'] == {'fp32': pytest.approx(ORT_INSTRUCTIONS[version], rel=0.01)}


def test_a_count_with_wrong_logits_is_an_error():
    right = np.array([1.0, 2.0], np.float32)
    net = subject.Subject('net', b'', 'logits', right, (), lambda precision: b'', right)
    assert net.count('fp32', 'k', 5, right).instructions == 5
    for precision, logits in (('fp32', right * 1.0001), ('int8', right * np.nan)):
        with pytest.raises(subject.WrongResultError, match=f'net {precision} by k: its logits differ'):
            net.count(precision, 'k', 5, logits)
    rough = net.count('int8', 'k', 5, right[::-1])
    assert rough.error == pytest.approx(0.5) and not rough.same_top


@pytest.mark.parametrize(('arguments', 'message'), [
    (['--model', 'models/nothing.onnx'], 'count: models/nothing.onnx'),
    (['--model', ORT_MODEL, '--backend', 'onnxruntime', '--precision', 'int8'],
     'expected some of fp32 with onnxruntime, got int8'),
    (['--model', ORT_MODEL, '--backend', 'onnxruntime', '--layers'], '--layers is for --backend native'),
    (['--reference', 'shufflenet_v9'], "'shufflenet_v9'"),
])
def test_what_is_not_available_is_an_error(arguments, message, capsys):
    if '--reference' in arguments:
        pytest.importorskip('torch')
    assert arm_count.main(arguments) == 1
    assert message in capsys.readouterr().err


def test_missing_tools_are_reported_where_they_cannot_be_installed(repo_root, tmp_path):
    done = subprocess.run([sys.executable, 'benchmarks/arm/prepare.py'], cwd=repo_root, text=True,
                          capture_output=True, check=False, env={**os.environ, 'PATH': str(tmp_path)})
    assert done.returncode == 1
    assert '`sudo apt install qemu-user gcc-aarch64-linux-gnu gcc`' in done.stderr
