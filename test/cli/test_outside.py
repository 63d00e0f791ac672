# SPDX-License-Identifier: Apache-2.0
"""Untrusted input: FIFOs, names that would control a terminal; and a machine without rosbags."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from labeled_datasets import encoded, write_folder

from shufflenet_ros.bags.writer import BagWriter
from shufflenet_ros.bundles.bundle import open_bundle
from shufflenet_ros.bundles.listing import KEYS
from shufflenet_ros.cli.classify import text_line
from shufflenet_ros.cli.main import VERBS
from shufflenet_ros.cli.tables import model_table
from shufflenet_ros.core.console import say
from shufflenet_ros.core.frame import DecodedImage, Prediction, Result, StageTimes
from shufflenet_ros.datasets.sources import SourceFrame, open_sources

CONTROL = '\x1b]0;title\x07\x9b31m\n\u202e\u2066\u061c'


def photo(path: Path) -> Path:
    """Write a red image."""
    write_folder(path.parent, {path.name: encoded('red')})
    return path


@pytest.mark.parametrize('name', ['a.jpg', 'a.png', 'a.mp4', 'a.mcap', 'a.db3', 'a.bag', 'a'])
def test_a_fifo_is_rejected_at_once(classify, tiny, tmp_path, name):
    os.mkfifo(tmp_path / name)
    ran = classify(tmp_path / name, '--model', tiny, status=2)
    assert f'{name}: expected a regular file or a folder, got a FIFO' in ran.err.splitlines()[-1]


def test_a_folder_is_read_without_its_fifos(classify, tiny, tmp_path):
    photo(tmp_path / 'a.png')
    os.mkfifo(tmp_path / 'b.png')
    (tmp_path / 'c.png').symlink_to('/dev/zero')
    (tmp_path / 'd.png').symlink_to(tmp_path / 'nothing')
    ran = classify(tmp_path, '--model', tiny, '--json')
    assert [line['source'] for line in ran.lines] == [str(tmp_path / 'a.png')]
    for name, kind in (('b', 'a FIFO'), ('c', 'a character device'), ('d', 'a broken link')):
        assert f'{tmp_path / name}.png is left out: expected a regular file, got {kind}\n' in ran.err


def test_an_image_that_became_a_fifo_is_not_waited_for(tmp_path):
    source, = open_sources([photo(tmp_path / 'a.png')])
    (tmp_path / 'a.png').unlink()
    os.mkfifo(tmp_path / 'a.png')
    with pytest.raises(OSError, match='expected a regular file, got a FIFO'):
        list(source.frames())


@pytest.mark.parametrize(('option', 'name'), [('--card', 'card.json'), ('--model', 'model.onnx')])
def test_a_fifo_as_model_or_card_is_rejected_at_once(classify, tiny, tmp_path, option, name):
    os.mkfifo(tmp_path / name)
    ran = classify(photo(tmp_path / 'a.png'), '--model', tiny, option, tmp_path / name, status=2)
    assert f'{name}: cannot be read: expected a regular file, got a FIFO' in ran.err


def test_a_dataset_reports_its_fifos_and_goes_on(evaluate, tiny, tmp_path):
    photo(tmp_path / 'set' / 'red' / 'a.png')
    os.mkfifo(tmp_path / 'set' / 'red' / 'b.png')
    assert 'red/b.png: not scored, bad_format: cannot be read: expected a regular file, got a FIFO' \
        in evaluate(tmp_path / 'set', '--model', tiny).err
    os.mkfifo(tmp_path / 'set.tar')
    assert 'got a FIFO' in evaluate(tmp_path / 'set.tar', '--model', tiny, status=2).err


def safe(text: str) -> bool:
    """Whether a terminal only shows every line of a text."""
    return all(line.isprintable() for line in text.split('\n'))


def test_names_of_files_and_topics_cannot_control_the_terminal(classify, tiny, tmp_path):
    with BagWriter(tmp_path / 'bag') as bag:
        bag.image(f'/cam{CONTROL}', np.zeros((48, 64, 3), np.uint8), 'bgr8', 1)
        bag.image(f'/cam{CONTROL}', np.zeros((48, 64, 3), np.uint8), f'odd{CONTROL}', 2)
    file = photo(tmp_path / 'red.png').rename(tmp_path / f'red{CONTROL}.png')
    broken = tmp_path / f'broken{CONTROL}.png'
    broken.write_bytes(b'none')
    sources = (tmp_path / 'bag', file, broken)
    ran = classify(*sources, '--model', tiny)
    assert len(ran.out.splitlines()) == 4 and safe(ran.out) and safe(ran.err)
    ran = classify(*sources, '--model', tiny, '--json')
    assert ran.out.isascii() and safe(ran.out) and safe(ran.err)
    assert ran.lines[0]['topic'] == f'/cam{CONTROL}' and ran.lines[2]['source'] == str(file)
    for arguments in ([tmp_path / f'none{CONTROL}'], [tmp_path / 'bag', '--topic', CONTROL],
                      [file, '--top-k', CONTROL], [file, f'-{CONTROL}'], [file, '--model', CONTROL]):
        ran = classify('--model', tiny, *arguments, status=2)
        assert safe(ran.err), ran.err


def test_labels_and_names_of_cards_cannot_control_the_terminal(capsys):
    image = DecodedImage(np.zeros((48, 64, 3), np.uint8), 'bgr')
    result = Result(image, (Prediction(f'red{CONTROL}', 0, 0.5),), None, StageTimes(0, 0, 0, 0))
    say(text_line(SourceFrame('a.png', None, 0, None, None), result))
    row = dict.fromkeys(KEYS) | {'kind': 'bundle', 'name': CONTROL, 'weights': CONTROL, 'note': CONTROL}
    say(*model_table([row]))
    out = capsys.readouterr().out
    assert safe(out) and out.count('\\x1b]0;title') == 5


BLOCKED = """
import contextlib, io, json, sys
sys.modules.update(dict.fromkeys(
    ('rosbags', 'apsw', 'lz4', 'tqdm', 'matplotlib', 'torch', 'lightning_fabric', 'onnx', 'rclpy', 'jinja2',
     'mcap')))
from shufflenet_ros.cli import main as cli
for argv in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = cli.main(argv)
        except SystemExit as ended:  # after --help
            status = ended.code
    print(json.dumps([status, out.getvalue(), err.getvalue()]))
"""


def test_photos_and_datasets_need_no_optional_package_and_the_rest_names_it(python, tiny, tmp_path):
    data, bag, card, model = tmp_path / 'set', tmp_path / 'bag.db3', tmp_path / 'card.json', ['--model', tiny]
    photo(data / 'red' / 'a.png')
    bag.touch()
    card.write_text(open_bundle(str(tiny)).card.to_json())
    calls = [
        ['classify', data, '--json', *model], ['evaluate', data, *model], ['models', 'check', tiny],
        ['classify', bag, *model], ['classify', data, '--progress', *model],
        ['evaluate', data, '--confusion', tmp_path / 'out.png', *model],
        ['classify', data, '--annotate', tmp_path / 'out.mcap', *model],
        ['report', data, '-o', tmp_path / 'out.html', *model],
        ['models', 'add-card', tiny, '--card', card, '-o', tmp_path / 'o.onnx'],
        *([*verb.split(), '--help'] for verb in VERBS if verb not in ('replay', 'report', 'train'))]
    done = python('-c', BLOCKED, json.dumps(calls, default=str))
    assert done.returncode == 0, done.stderr
    lines = map(json.loads, done.stdout.splitlines())
    photos, scores, check, bag, bar, drawing, foxglove, page, add_card, *helps = lines
    assert photos[0] == 0 and json.loads(photos[1])['predictions'][0]['name'] == 'red'
    assert scores[0] == 0 and 'top-1' in scores[1]
    assert check[0] == 0 and 'yes: loads' in check[1]
    for (status, out, err), verb, module in (
            (bag, 'classify', 'rosbags'), (bar, 'classify', 'tqdm'), (drawing, 'evaluate', 'matplotlib'),
            (foxglove, 'classify', 'mcap')):
        assert (status, out) == (2, '')
        assert f'{verb} needs the Python module {module}: pip install {module}; if pip reports ' \
            'externally-managed-environment: python3 -m venv' in err.splitlines()[-1]
    assert page[:2] == [2, ''] and 'report needs the Python module jinja2: sudo apt install' in page[2]
    assert add_card[0] == 2 and add_card[2].splitlines()[-1].endswith("pip install 'shufflenet_ros[export]'")
    assert len(helps) > 7 and all(status == 0 and 'usage: ' in out for status, out, _ in helps)
