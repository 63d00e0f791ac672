# SPDX-License-Identifier: Apache-2.0
"""`make figures` writes what it measured and where; a failing measurement stops nothing."""

import json
import subprocess
import sys

from benchmarks import figures


def test_one_real_measurement_is_written_with_machine_and_versions(repo_root, tmp_path):
    out = tmp_path / 'docs' / 'figures.json'
    done = subprocess.run([sys.executable, '-m', 'benchmarks.figures', 'model', '--out', str(out)],
                          cwd=repo_root, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    report = json.loads(out.read_text())
    assert set(report) == {'date', 'commit', 'machine', 'versions', 'figures'}
    assert report['machine']['cores'] >= 1 and report['machine']['cpu'] not in ('', 'unknown')
    assert all(report['versions'][name][0].isdigit() for name in ('python', 'numpy', 'opencv', 'onnxruntime'))
    model = report['figures']['model']
    assert 0 < model['frame_p50_ms'] <= model['frame_p95_ms'], model
    published = json.loads((repo_root / 'docs' / 'figures.json').read_text())['figures']['model']
    assert model.keys() == published.keys()
    assert f'frame_p50_ms {model["frame_p50_ms"]}' in ' '.join(done.stdout.split())


def test_a_failing_measurement_is_written_with_its_error(monkeypatch):
    monkeypatch.setitem(figures.FIGURES, 'broken', ('math', 'sqrt'))  # needs an argument
    assert figures.measure('broken')['error'].startswith('TypeError: ')


def test_every_measurement_of_the_table_can_be_called():
    for module, function in figures.FIGURES.values():
        assert callable(getattr(__import__(module, fromlist=[function]), function))


def test_unknown_names_are_an_error(repo_root):
    done = subprocess.run([sys.executable, '-m', 'benchmarks.figures', 'nonsense'], cwd=repo_root,
                          capture_output=True, text=True)
    assert done.returncode == 2
    assert "no such figures: ['nonsense']; expected some of" in done.stderr
