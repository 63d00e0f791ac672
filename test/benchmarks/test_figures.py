# SPDX-License-Identifier: Apache-2.0
"""`make figures` writes what it measured and where; a failing measurement stops nothing."""

import json

import pytest

from benchmarks import figures, model
from shufflenet_ros.datasets.calibration import reference_inputs
from shufflenet_ros.packer.pack import pack


def test_one_real_measurement_is_written_with_machine_and_versions(repo_root, tmp_path, monkeypatch, capsys):
    out = tmp_path / 'docs' / 'figures.json'
    monkeypatch.setattr(model, 'FRAMES', 20)
    monkeypatch.setitem(figures.FIGURES, 'broken', ('math', 'sqrt'))  # needs an argument
    assert figures.main(['broken', 'model', '--out', str(out)]) == 0
    report = json.loads(out.read_text())
    published = json.loads((repo_root / 'docs' / 'figures.json').read_text())
    assert report.keys() == published.keys() and report['versions'].keys() == published['versions'].keys()
    assert report['machine']['cores'] >= 1 and report['machine']['cpu'] not in ('', 'unknown')
    assert all(report['versions'][name][0].isdigit() for name in ('python', 'numpy', 'opencv', 'onnxruntime'))
    assert report['figures']['broken']['error'].startswith('TypeError: ')
    measured = report['figures']['model']
    assert 0 < measured['frame_p50_ms'] <= measured['frame_p95_ms'], measured
    assert measured.keys() == published['figures']['model'].keys()
    assert f'"frame_p50_ms": {measured["frame_p50_ms"]}' in capsys.readouterr().out


def test_a_reference_network_fits_half_precision(tmp_path, monkeypatch):
    """With batch normalization as initialized it would not, so it is fitted to images."""
    pytest.importorskip('torch')
    from benchmarks import zoo
    monkeypatch.setattr(zoo, 'PX', 64)
    bundle = zoo.reference_bundle('shufflenet_v2_x0_5', tmp_path)
    assert pack(bundle, ['fp16'], reference_inputs(bundle.card.input, 4))[0].path.is_file()


def test_every_measurement_of_the_table_can_be_called():
    for module, function in figures.FIGURES.values():
        assert callable(getattr(__import__(module, fromlist=[function]), function))


def test_unknown_names_are_an_error(capsys):
    with pytest.raises(SystemExit, match='2'):
        figures.main(['nonsense'])
    assert "no such figures: ['nonsense']; expected some of" in capsys.readouterr().err
