"""`shufflenet-ros evaluate`: the figures of the exported file on folders, tars and labeled bags."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from shufflenet_ros.backends.load import load
from shufflenet_ros.bags.reader import Bag
from shufflenet_ros.bags.writer import BagWriter
from shufflenet_ros.cli import main as cli
from shufflenet_ros.core.classifier import Classifier
from shufflenet_ros.core.frame import Options
from shufflenet_ros.datasets.confusion import draw
from shufflenet_ros.datasets.evaluation import verdict
from shufflenet_ros.datasets.metrics import calibration_error, retrieval_map
from shufflenet_ros.datasets.open import open_set
from shufflenet_ros.datasets.score import Scores

INT8 = 'shufflenet_v2_x1_0_int8.onnx'
BGR = {'red': (0, 0, 255), 'green': (0, 255, 0), 'blue': (255, 0, 0)}
MODEL_KEYS = ['model', 'sha256', 'backend', 'provider', 'precision', 'set', 'split', 'images', 'skipped',
              'left_out', 'classes', 'top1', 'top5', 'ece', 'map', 'per_class', 'confused']
Evaluate = Callable[..., Any]


@pytest.fixture
def evaluate(capfd: pytest.CaptureFixture[str]) -> Evaluate:
    """Run `shufflenet-ros evaluate` with these arguments: status, stdout, stderr."""
    def run(*arguments: str | Path) -> tuple[int, str, str]:
        capfd.readouterr()
        try:
            status = cli.main(['evaluate', *map(str, arguments)])
        except SystemExit as end:
            status = int(end.code or 0)
        return status, *capfd.readouterr()
    return run


def lines(ran: tuple[int, str, str]) -> list[dict[str, Any]]:
    """Stdout as JSON lines of a run that went well."""
    assert ran[0] == 0, ran[2]
    return [json.loads(line) for line in ran[1].splitlines()]


def plain(name: str, px: int = 48) -> np.ndarray:
    return np.full((px, px, 3), BGR[name], np.uint8)


@pytest.fixture
def colors(tmp_path: Path) -> Path:
    """Four red images, one of them green; two green ones; a damaged one; nothing blue."""
    for name, shown in (('red/0', 'red'), ('red/1', 'red'), ('red/2', 'red'), ('red/3', 'green'),
                        ('green/0', 'green'), ('green/1', 'green')):
        path = tmp_path / 'colors' / f'{name}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), plain(shown))
    (tmp_path / 'colors' / 'red' / 'cut.png').write_bytes((tmp_path / 'colors/red/0.png').read_bytes()[:50])
    return tmp_path / 'colors'


@pytest.fixture(scope='session')
def photo_set(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 40 real photos as a folder of classes."""
    root = tmp_path_factory.mktemp('photos')
    for file, truth in json.loads((shared_data / 'photos' / 'labels.json').read_text()).items():
        (root / truth['name']).mkdir()
        (root / truth['name'] / file).symlink_to((shared_data / 'photos' / file).resolve())
    return root


def test_the_int8_model_on_real_photos_gets_what_classify_gets(
        evaluate: Evaluate, photo_set: Path, shared_data: Path, tmp_path: Path,
        capfd: pytest.CaptureFixture[str]) -> None:
    image = tmp_path / 'photos.png'
    (line,) = lines(evaluate(photo_set, '--model', shared_data / INT8, '--json', '--confusion', image))
    assert list(line) == MODEL_KEYS
    assert (line['images'], line['skipped'], line['classes'], line['map']) == (40, 0, 40, None)
    command = ['classify', shared_data / 'photos', '--model', shared_data / INT8, '--json']
    assert cli.main([*map(str, command)]) == 0
    answers = [json.loads(text) for text in capfd.readouterr().out.splitlines()]
    truth = json.loads((shared_data / 'photos' / 'labels.json').read_text())
    expected = [truth[Path(answer['source']).name]['imagenet_index'] for answer in answers]
    ranked = [[label['index'] for label in answer['predictions']] for answer in answers]
    right = np.array([best[0] == index for best, index in zip(ranked, expected)])
    assert line['top1'] == right.mean() >= 32 / 40
    assert line['top5'] == np.mean([index in best for best, index in zip(ranked, expected)]) > line['top1']
    confidence = np.array([answer['predictions'][0]['score'] for answer in answers], np.float32)
    assert line['ece'] == pytest.approx(calibration_error(confidence, right), abs=1e-4)
    assert sum(row['right'] for row in line['per_class']) == right.sum()
    assert [row['top1'] for row in line['per_class']] == sorted(row['top1'] for row in line['per_class'])
    wrong = {(answer['truth'], answer['answer']) for answer in line['confused']}
    assert len(wrong) == (~right).sum() and all(a != b for a, b in wrong)
    drawn = cv2.imread(str(image))
    assert min(drawn.shape[:2]) > 800


def test_figures_by_hand(evaluate: Evaluate, tiny: Path, colors: Path) -> None:
    ran = evaluate(colors, '--model', tiny, '--json')
    (line,) = lines(ran)
    assert (line['images'], line['skipped'], line['left_out'], line['classes']) == (6, 1, {}, 2)
    assert (line['top1'], line['top5'], line['split']) == (round(5 / 6, 4), 1.0, '')
    assert line['per_class'] == [{'label': 'red', 'images': 4, 'right': 3, 'top1': 0.75},
                                 {'label': 'green', 'images': 2, 'right': 2, 'top1': 1.0}]
    assert line['confused'] == [{'truth': 'red', 'answer': 'green', 'images': 1}]
    # Embeddings are the color: e. g. a red one finds 2 red (1), then 3 green of which one counts (3/5).
    red, odd, green = (2 + 3 / 5) / 3, 3 / 5, (1 / 2)
    assert line['map'] == pytest.approx((3 * red + odd + 2 * green) / 6, abs=1e-4)
    assert 'red/cut.png: not scored, truncated: ' in ran[2]
    model = load(str(tiny))
    classifier = Classifier(model.card, model.backend)
    good = [s for s in open_set(colors).samples() if 'cut' not in s.name]
    answers = [classifier.classify(s.message, Options()) for s in good]
    confidence = np.array([a.predictions[0].score for a in answers], np.float32)
    right = np.array([a.predictions[0].name == s.name.split('/')[0] for a, s in zip(answers, good)])
    assert line['ece'] == pytest.approx(calibration_error(confidence, right), abs=1e-4)
    targets = np.array([s.target for s in good])
    embeddings = np.stack([a.embedding for a in answers])
    assert line['map'] == pytest.approx(retrieval_map(embeddings, targets), abs=1e-4)


def test_a_folder_a_tar_and_a_bag_of_the_same_images_score_alike(
        evaluate: Evaluate, tiny: Path, colors: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / 'set.tar.gz', 'w:gz') as tar:
        tar.add(colors, 'val')
        data = cv2.imencode('.png', plain('blue'))[1].tobytes()
        info = tarfile.TarInfo('train/blue/0.png')
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    files = sorted(colors.rglob('*.png'))
    for storage in ('mcap', 'db3'):
        with BagWriter(tmp_path / storage, storage) as bag:
            for i, file in enumerate(files):
                bag.compressed('/cam', file.read_bytes(), 'png', 10**18 + i * 10**8)
        (tmp_path / f'{storage}.labels.yaml').write_text(yaml.safe_dump(
            [{'topic': '/cam', 'from_s': i / 10, 'to_s': (i + 1) / 10, 'label': file.parent.name}
             for i, file in enumerate(files)]))
    ran = [evaluate(path, '--model', tiny, '--json')
           for path in (colors, tmp_path / 'set.tar.gz', tmp_path / 'mcap', tmp_path / 'db3')]
    first, *others = [lines(one)[0] | {'set': ''} for one in ran]
    assert [other | {'split': ''} for other in others] == [first] * 3
    assert [one['split'] for one in others] == ['val', '', '']
    assert all('truncated' in one[2] for one in ran)
    blue = lines(evaluate(tmp_path / 'set.tar.gz', '--model', tiny, '--json', '--split', 'train'))[0]
    assert (blue['images'], blue['top1'], blue['map']) == (1, 1.0, None)


def test_two_bundles_side_by_side(
        evaluate: Evaluate, photo_set: Path, shared_data: Path, tmp_path: Path) -> None:
    """The model against itself with the channels taken the wrong way round."""
    model = load(str(shared_data / INT8))
    card = json.loads(model.card.to_json())
    for key in ('golden', 'variants'):
        card.pop(key, None)
    card |= {'name': 'swapped'}
    card['input']['color'] = 'bgr'
    swapped = tmp_path / 'swapped.onnx'
    swapped.write_bytes((shared_data / INT8).read_bytes())
    (tmp_path / 'swapped.onnx.card.json').write_text(json.dumps(card))
    arguments = (photo_set, '--model', shared_data / INT8, '--against', swapped)
    a, b, paired = lines(evaluate(*arguments, '--json', '--confusion', tmp_path / 'both.png'))
    names = [a['model'], 'swapped']
    assert paired['comparison'] == names and b['model'] == 'swapped' and paired['images'] == 40
    assert paired['both'] + paired['only_a'] == round(a['top1'] * 40)
    assert paired['both'] + paired['only_b'] == round(b['top1'] * 40)
    assert paired['both'] + paired['only_a'] + paired['only_b'] + paired['neither'] == 40
    assert paired['low'] < paired['difference'] == pytest.approx(a['top1'] - b['top1'], abs=1e-4)
    assert paired['better'] == (names[0] if paired['p_value'] < 0.05 else None)
    status, text, _ = evaluate(*arguments)
    assert status == 0
    head = next(line for line in text.splitlines() if 'swapped' in line)
    assert head.split() == names
    assert f'only {names[0]} {paired["only_a"]}, only swapped {paired["only_b"]}' in text
    assert ('is better on this set.' if paired['better'] else 'may be chance.') in text


def test_a_model_against_itself_is_not_better(evaluate: Evaluate, tiny: Path, colors: Path) -> None:
    *_, paired = lines(evaluate(colors, '--model', tiny, '--against', tiny, '--json'))
    assert (paired['both'], paired['only_a'], paired['only_b'], paired['neither']) == (5, 0, 0, 1)
    assert (paired['difference'], paired['p_value'], paired['better']) == (0, 1.0, None)
    assert len(set(map(len, paired['comparison']))) == 1 and '@' in paired['comparison'][0]
    text = evaluate(colors, '--model', tiny, '--against', tiny)[1]
    assert text.rstrip().endswith('Neither is better on this set.')


def test_within_is_judged_by_the_images_and_told_by_the_status(
        evaluate: Evaluate, tiny: Path, colors: Path, tmp_path: Path) -> None:
    """A red bundle and one whose labels are exchanged: 5 of 6 right against 1 of 6, 66.7 points apart."""
    worse = tmp_path / 'worse.onnx'
    shutil.copy(tiny, worse)
    card = json.loads(load(str(tiny)).card.to_json())
    for key in ('golden', 'variants'):
        card.pop(key, None)
    red, green = (card['labels'].index(name) for name in ('red', 'green'))
    card['labels'][red], card['labels'][green] = 'green', 'red'
    (tmp_path / 'card.json').write_text(json.dumps(card | {'name': 'worse'}))

    def judge(first: Path, second: Path, points: str, *more: str) -> tuple[int, str, str]:
        extra = ('--card', tmp_path / 'card.json') if first == worse else ()
        return evaluate(colors, '--model', first, '--against', second, '--within', points, *extra, *more)

    status, out, _ = judge(worse, tiny, '60', '--json')
    a, b, paired = map(json.loads, out.splitlines())
    gap = 100 * (b['top1'] - a['top1'])
    assert status == 1 and gap > 60 and (paired['within_points'], paired['passed']) == (60.0, False)
    assert paired['behind_points'] == pytest.approx(gap, abs=0.01) and paired['unanswered'] == 0
    assert judge(worse, tiny, str(gap + 0.01))[0] == 0
    status, text, _ = judge(worse, tiny, '60')
    assert status == 1 and text.rstrip().endswith(
        '\nworse is 66.67 points of top-1 below tiny: it is NOT within 60.')
    status, text, _ = judge(tiny, tiny, '0')
    assert status == 0 and ' is level with tiny@' in text and text.rstrip().endswith(': it is within 0.')


def test_a_variant_is_not_judged_on_the_images_alone_that_it_can_answer(
        evaluate: Evaluate, tiny: Path, colors: Path) -> None:
    """A half-precision overflow, say: any red image gives NaN, all others what the original gives."""
    helper, numpy_helper = pytest.importorskip('onnx.helper'), pytest.importorskip('onnx.numpy_helper')
    model = pytest.importorskip('onnx').load(str(tiny))
    model.graph.node[-1].output[0] = 'whole'
    model.graph.node.extend([
        helper.make_node('MatMul', ['mean', 'to_red'], ['redness']),
        helper.make_node('Sqrt', ['redness'], ['root']),
        helper.make_node('Mul', ['root', 'nothing'], ['poison']),
        helper.make_node('Add', ['whole', 'poison'], ['logits'])])
    model.graph.initializer.extend([
        numpy_helper.from_array(np.array([[-1], [1], [1]], np.float32), 'to_red'),
        numpy_helper.from_array(np.array(0, np.float32), 'nothing')])
    broken = colors.parent / 'broken.onnx'
    card = json.loads(load(str(tiny)).card.to_json()) | {'name': 'broken', 'golden': None}
    del model.metadata_props[:]
    broken.write_bytes(model.SerializeToString())
    broken.with_name('broken.onnx.card.json').write_text(json.dumps(card))
    arguments = (colors, '--model', broken, '--against', tiny, '--within')
    status, out, err = evaluate(*arguments, '20', '--json')
    a, b, paired = map(json.loads, out.splitlines())
    assert (a['images'], b['images'], err.count('non_finite')) == (3, 6, 3)
    assert (paired['images'], paired['difference']) == (3, 0), 'level on what both answered'
    assert (paired['behind_points'], paired['unanswered'], paired['passed'], status) == (50, 3, False, 1)
    text = evaluate(*arguments, '20')[1]
    assert 'tiny, 3 images without an answer taken as wrong: it is NOT within 20.' in text


def scores(right: str) -> Scores:
    """+ right, - wrong, blank without an answer."""
    answered = [(place, mark == '+') for place, mark in enumerate(right) if mark != ' ']
    places, hit = (np.array(column, np.int64) for column in zip(*answered))
    return Scores(places, np.zeros_like(places), 1 - hit[:, None], np.ones(len(places), np.float32), None, ())


@pytest.mark.parametrize(('first', 'second', 'points', 'behind', 'passed'), [
    ('+' * 99 + '-', '+' * 100, 1.0, 1.0, True), ('+' * 98 + '--', '+' * 100, 1.0, 2.0, False),
    ('+' * 98 + '--', '+' * 100, 1.99, 2.0, False), ('+++', '+--', 0.0, -66.6667, True),
    ('+-+-', '-+-+', 0.0, 0.0, True), ('+  -', '++ -', 30.0, 33.3333, False),
    ('+++ ', ' +++', 0.0, 33.3333, False),
    ('++++', '  ++', 0.0, 0.0, True),
])
def test_a_verdict_counts_images(
        first: str, second: str, points: float, behind: float, passed: bool) -> None:
    judged = verdict(scores(first), scores(second), points)
    assert (judged['behind_points'], judged['passed']) == (behind, passed)


def test_people_read_a_table(evaluate: Evaluate, tiny: Path, colors: Path) -> None:
    status, text, err = evaluate(colors, '--model', tiny)
    assert status == 0
    assert text.splitlines()[0] == f'{colors}: 7 images, 2 classes'
    for row in (['images', '6'], ['skipped', '1'], ['top-1', '83.3', '%'], ['retrieval', 'mAP', '70.0', '%']):
        assert row in [line.split() for line in text.splitlines()]
    assert '   75.0 %  3 of 4  red' in text.splitlines() and '     1  red called green' in text.splitlines()
    assert 'terms: none needed' in err and '/7' not in err
    assert '7/7' in evaluate(colors, '--model', tiny, '--progress')[2]
    (line,) = lines(evaluate(colors, '--model', tiny, '--json', '--limit', '2'))
    assert line['images'] == 2 and {row['label'] for row in line['per_class']} == {'green', 'red'}


def test_no_answer_at_all_is_status_1(evaluate: Evaluate, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / 'red').mkdir()
    (tmp_path / 'red' / 'a.png').write_bytes(b'')
    for extra in ((), ('--json',), ('--against', tiny)):
        status, out, err = evaluate(tmp_path, '--model', tiny, *extra)
        assert status == 1 and f'none of the images of {tmp_path} could be scored' in err
        assert 'red/a.png: not scored, ' in err and 'top' not in out


@pytest.mark.parametrize(('arguments', 'said'), [
    (['{set}/nowhere'], 'does not exist: give a folder or tar of <class>/<image>'),
    (['{set}', '--split', 'val'], 'no image under val/<class>/: it has no splits'),
    (['{set}', '--confusion', 'nowhere/out.png'], 'nowhere/out.png cannot be written: expected a name'),
    (['{set}', '--confusion', 'out.jpg'], 'out.jpg cannot be written: expected a name that ends in .png'),
    (['{set}', '--limit', '0'], "'0': expected an integer of 1 or more"),
    (['{set}', '--against', 'nothing'], 'nothing'),
    (['{set}', '--within', '1'], '--within 1.0: expected --against MODEL'),
    (['{set}', '--within', 'nan'], "'nan': expected percentage points from 0 to 100"),
    (['{set}', '--within', '-1'], 'expected percentage points from 0 to 100'),
    (['{strange}'], "1 of the set's classes are no labels of tiny: 'reds' (like 'red'?); rename"),
    ([], 'the following arguments are required: SET'),
])
def test_what_cannot_be_done_is_one_error_with_status_2(
        evaluate: Evaluate, tiny: Path, colors: Path, tmp_path: Path,
        arguments: list[str], said: str) -> None:
    (tmp_path / 'strange').mkdir()
    (tmp_path / 'strange' / 'reds').symlink_to(colors / 'red')
    given = [text.format(set=colors, strange=tmp_path / 'strange') for text in arguments]
    status, _, err = evaluate(*given, '--model', tiny)
    assert status == 2 and said in err.splitlines()[-1] and 'Traceback' not in err


def test_the_default_model_on_a_real_bag_and_on_its_own_photos(
        evaluate: Evaluate, repo_root: Path, tmp_path: Path) -> None:
    """Two of the demo's photos are in the clone: shown by a camera, and lying in a folder."""
    photos = {'orange': repo_root / 'demo' / 'photos' / 'orange.jpg',
              'lemon': repo_root / 'demo' / 'photos' / 'fruits.jpg'}
    entries = []
    with BagWriter(tmp_path / 'bag') as bag:
        for i, (label, path) in enumerate(photos.items()):
            pixels = cv2.imread(str(path))
            for k in range(5):
                stamp = 10**18 + (5 * i + k) * 10**8
                bag.image('/camera/image_raw', np.ascontiguousarray(pixels[k:, k:]), 'bgr8', stamp)
            entries.append({'topic': '/camera/image_raw', 'label': label,
                            'from_s': i * 0.5, 'to_s': i * 0.5 + 0.4})
            (tmp_path / 'set' / label).mkdir(parents=True)
            (tmp_path / 'set' / label / path.name).write_bytes(path.read_bytes())
    (tmp_path / 'bag.labels.yaml').write_text(yaml.safe_dump(entries))
    (line,) = lines(evaluate(tmp_path / 'bag', '--json'))
    assert (line['images'], line['skipped'], line['classes']) == (8, 0, 2)
    assert line['left_out'] == {'frames outside every range': 2}
    assert 0 < line['map'] <= 1 and 0 <= line['ece'] <= 1 and line['top1'] <= line['top5']
    (still,) = lines(evaluate(tmp_path / 'set', '--json'))
    assert still['images'] == 2 and still['map'] is None


def test_a_real_ros_1_bag_with_made_labels(evaluate: Evaluate, shared_data: Path, tmp_path: Path) -> None:
    bag = tmp_path / 'raspicam.bag'
    bag.symlink_to(shared_data / 'bags' / 'raspicam_compressed.bag')
    with Bag(bag) as opened:
        (topic,) = (t.name for t in opened.topics if t.type.endswith('CompressedImage'))
    (tmp_path / 'raspicam.bag.labels.yaml').write_text(
        f'- {{topic: {topic}, from_s: 0, to_s: 100, label: desktop computer}}\n')
    (line,) = lines(evaluate(bag, '--model', shared_data / INT8, '--json'))
    assert (line['images'], line['classes']) == (1, 1) and line['top1'] in (0, 1)


@pytest.mark.parametrize('count', [1, 6, 200])
def test_a_confusion_image_is_readable_whatever_the_number_of_classes(count: int) -> None:
    matrix = np.zeros((count, count + 1), np.int64)
    matrix[np.arange(count), np.arange(count)] = 99
    matrix[0, -1] = 1
    names = [f'class {i} with a name that is far too long for a margin' for i in range(count)]
    drawn = draw(matrix, names, [*names, '(other)'], 'model: top-1 99.0 %')
    assert drawn.dtype == np.uint8 and drawn.ndim == 3 and max(drawn.shape) < 1300
    dark = (drawn.astype(int) - (120, 45, 0))
    share = np.abs(dark).max(axis=2) < 12  # the full shade: the diagonal and the top of the scale
    rows, columns = np.nonzero(share)
    assert len(rows) > 50
    # Names fill the left margin from top to bottom, and the title the top.
    text = drawn.max(axis=2) < 100
    grid_left, top = columns.min(), rows.min()
    assert text[:top, :].sum() > 200
    heights = np.nonzero(text[top:, :grid_left].any(axis=1))[0]
    assert len(heights)
    if count > 1:
        assert heights.max() - heights.min() >= 0.8 * (rows.max() - rows.min()) - 20


def test_neither_torch_nor_ros_nor_onnx_is_needed(repo_root: Path, colors: Path, tiny: Path) -> None:
    blocked = "import sys; sys.modules.update(dict.fromkeys(['torch', 'onnx', 'rclpy'])); "
    code = f'{blocked}from shufflenet_ros.cli.main import main; sys.exit(main(sys.argv[1:]))'
    done = subprocess.run([sys.executable, '-c', code, 'evaluate', colors, '--model', tiny, '--json'],
                          cwd=repo_root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)['images'] == 6
