# SPDX-License-Identifier: Apache-2.0
"""`shufflenet-ros evaluate`: the figures of the exported file on folders, tars and labeled bags."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from labeled_datasets import encoded, write_folder, write_labeled_bag, write_tar
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from shufflenet_ros.backends.load import load
from shufflenet_ros.bags.writer import BagWriter
from shufflenet_ros.datasets.confusion import draw_matrix
from shufflenet_ros.datasets.evaluation import within_limit
from shufflenet_ros.datasets.metrics import calibration_error
from shufflenet_ros.datasets.score import Scores

MODEL_KEYS = ['model', 'sha256', 'backend', 'provider', 'precision', 'dataset', 'split', 'images', 'skipped',
              'left_out', 'classes', 'top1', 'top5', 'ece', 'map', 'per_class', 'confused']


@pytest.fixture
def colors(tmp_path) -> Path:
    """Four red images, one of them shown green; two green images; a damaged image; nothing blue."""
    files = {f'red/{i}.png': encoded(color) for i, color in enumerate(('red', 'red', 'red', 'green'))}
    files |= {f'green/{i}.png': encoded('green') for i in range(2)}
    return write_folder(tmp_path / 'colors', files | {'red/truncated.png': encoded('red')[:50]})


def copy_with_card(model: Path, copy: Path, **fields) -> Path:
    """A copy of a model with other fields in its card, beside it."""
    card = json.loads(load(str(model)).card.to_json())
    for key in ('golden', 'variants'):
        card.pop(key, None)
    shutil.copy(model, copy)
    copy.with_name(f'{copy.name}.card.json').write_text(json.dumps(card | {'name': copy.stem} | fields))
    return copy


@pytest.fixture(scope='session')
def photo_set(shared_data, tmp_path_factory) -> Path:
    """The 40 real photos as a folder of classes."""
    root = tmp_path_factory.mktemp('photos')
    for file, truth in json.loads((shared_data / 'photos' / 'labels.json').read_text()).items():
        (root / truth['name']).mkdir()
        (root / truth['name'] / file).symlink_to((shared_data / 'photos' / file).resolve())
    return root


def test_the_scores_are_those_of_classify(evaluate, classify, int8, photo_set, shared_data, tmp_path):
    image, photos = tmp_path / 'photos.png', shared_data / 'photos'
    (line,) = evaluate(photo_set, '--model', int8, '--json', '--confusion', image).lines
    assert list(line) == MODEL_KEYS
    assert (line['images'], line['skipped'], line['classes'], line['map']) == (40, 0, 40, None)
    results = classify(photos, '--model', int8, '--json').lines
    truth = json.loads((photos / 'labels.json').read_text())
    expected = [truth[Path(result['source']).name]['imagenet_index'] for result in results]
    ranked = [[prediction['index'] for prediction in result['predictions']] for result in results]
    correct = np.array([best[0] == index for best, index in zip(ranked, expected)])
    assert line['top1'] == correct.mean() >= 32 / 40
    assert line['top5'] == np.mean([index in best for best, index in zip(ranked, expected)]) > line['top1']
    assert sum(row['correct'] for row in line['per_class']) == correct.sum()
    assert [row['top1'] for row in line['per_class']] == sorted(row['top1'] for row in line['per_class'])
    wrong = {(row['label'], row['predicted']) for row in line['confused']}
    assert len(wrong) == (~correct).sum() and all(a != b for a, b in wrong)
    assert min(cv2.imread(str(image)).shape[:2]) > 800


def test_figures_by_hand(evaluate, classify, tiny, colors):
    ran = evaluate(colors, '--model', tiny, '--json')
    (line,) = ran.lines
    assert (line['images'], line['skipped'], line['left_out'], line['classes']) == (6, 1, {}, 2)
    assert (line['top1'], line['top5'], line['split']) == (round(5 / 6, 4), 1.0, '')
    assert line['per_class'] == [{'label': 'red', 'images': 4, 'correct': 3, 'top1': 0.75},
                                 {'label': 'green', 'images': 2, 'correct': 2, 'top1': 1.0}]
    assert line['confused'] == [{'label': 'red', 'predicted': 'green', 'images': 1}]
    # Embeddings are the color: a red image finds 2 red (1), then 3 green of which one counts (3/5).
    red, wrong, green = (2 + 3 / 5) / 3, 3 / 5, (1 / 2)
    assert line['map'] == pytest.approx((3 * red + wrong + 2 * green) / 6, abs=1e-4)
    assert 'red/truncated.png: not scored, truncated: ' in ran.err
    best = [(result['predictions'][0], Path(result['source']).parent.name)
            for result in classify(colors, '--model', tiny, '--json').lines if result['predictions']]
    confidence = np.array([prediction['score'] for prediction, _ in best], np.float32)
    correct = np.array([prediction['name'] == label for prediction, label in best])
    assert line['ece'] == pytest.approx(calibration_error(confidence, correct), abs=1e-4)


def test_a_folder_a_tar_and_a_bag_of_the_same_images_score_alike(evaluate, tiny, colors, tmp_path):
    files = sorted(colors.rglob('*.png'))
    val = {f'val/{file.relative_to(colors)}': file.read_bytes() for file in files}
    tar = write_tar(tmp_path / 'set.tar.gz', val | {'train/blue/0.png': encoded('blue')}, 'w:gz')
    frames = [(file.parent.name, file.read_bytes()) for file in files]
    bags = [write_labeled_bag(tmp_path / storage, frames, storage) for storage in ('mcap', 'db3')]
    ran = [evaluate(path, '--model', tiny, '--json') for path in (colors, tar, *bags)]
    first, *others = [one.lines[0] | {'dataset': ''} for one in ran]
    assert [other | {'split': ''} for other in others] == [first] * 3
    assert [one['split'] for one in others] == ['val', '', '']
    assert all('truncated' in one.err for one in ran)
    (blue,) = evaluate(tar, '--model', tiny, '--json', '--split', 'train').lines
    assert (blue['images'], blue['top1'], blue['map']) == (1, 1.0, None)


def test_two_bundles_side_by_side(evaluate, int8, photo_set, tmp_path):
    """The model against itself with red and blue swapped."""
    model_input = json.loads(load(str(int8)).card.to_json())['input'] | {'color': 'bgr'}
    swapped = copy_with_card(int8, tmp_path / 'swapped.onnx', input=model_input)
    arguments = (photo_set, '--model', int8, '--against', swapped, '--limit', '20')
    a, b, paired = evaluate(*arguments, '--json', '--confusion', tmp_path / 'both.png').lines
    names = [a['model'], 'swapped']
    assert paired['comparison'] == names and b['model'] == 'swapped' and paired['images'] == 20
    assert paired['both'] + paired['only_a'] == round(a['top1'] * 20)
    assert paired['both'] + paired['only_b'] == round(b['top1'] * 20)
    assert paired['both'] + paired['only_a'] + paired['only_b'] + paired['neither'] == 20
    assert paired['low'] < paired['difference'] == pytest.approx(a['top1'] - b['top1'], abs=1e-4)
    assert paired['better'] == (names[0] if paired['p_value'] < 0.05 else None)
    text = evaluate(*arguments).out
    head = next(line for line in text.splitlines() if 'swapped' in line)
    assert head.split() == names
    assert f'only {names[0]} {paired["only_a"]}, only swapped {paired["only_b"]}' in text
    assert ('is better on this dataset.' if paired['better'] else 'may be chance.') in text


def test_a_model_against_itself_is_not_better(evaluate, tiny, colors):
    *_, paired = evaluate(colors, '--model', tiny, '--against', tiny, '--json').lines
    assert (paired['both'], paired['only_a'], paired['only_b'], paired['neither']) == (5, 0, 0, 1)
    assert (paired['difference'], paired['p_value'], paired['better']) == (0, 1.0, None)
    assert len(set(map(len, paired['comparison']))) == 1 and '@' in paired['comparison'][0]
    text = evaluate(colors, '--model', tiny, '--against', tiny).out
    assert text.rstrip().endswith('Neither is better on this dataset.')


def test_within_sets_the_status(evaluate, tiny, colors, tmp_path):
    """A bundle, and a copy with red and green exchanged: 5 of 6 correct and 1 of 6, 66.7 points apart."""
    swap = {'red': 'green', 'green': 'red'}
    labels = [swap.get(label, label) for label in load(str(tiny)).card.labels]
    worse = copy_with_card(tiny, tmp_path / 'worse.onnx', labels=labels)
    card = ('--card', tmp_path / 'worse.onnx.card.json')  # tiny has a card of its own

    def compare(first, points, *more, **status):
        return evaluate(colors, '--model', first, '--against', tiny, '--within', points, *more, **status)

    a, b, paired = compare(worse, '60', '--json', *card, status=1).lines
    gap = 100 * (b['top1'] - a['top1'])
    assert gap > 60 and (paired['limit_points'], paired['within_limit']) == (60.0, False)
    assert paired['points_below'] == pytest.approx(gap, abs=0.01) and paired['without_result'] == 0
    compare(worse, str(gap + 0.01), *card, status=0)
    assert compare(worse, '60', *card, status=1).out.rstrip().endswith(
        '\nworse is 66.67 points of top-1 below tiny: it is NOT within 60.')
    text = compare(tiny, '0', status=0).out
    assert ' is level with tiny@' in text and text.rstrip().endswith(': it is within 0.')


def test_images_without_a_result_count_as_wrong(evaluate, tiny, colors):
    """Such as an overflow in half precision: a red image gives NaN, all others the original result."""
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
    broken = copy_with_card(tiny, colors.parent / 'broken.onnx')
    del model.metadata_props[:]
    broken.write_bytes(model.SerializeToString())
    arguments = (colors, '--model', broken, '--against', tiny, '--within', '20')
    ran = evaluate(*arguments, '--json', status=1)
    a, b, paired = ran.lines
    assert (a['images'], b['images'], ran.err.count('non_finite')) == (3, 6, 3)
    assert (paired['images'], paired['difference']) == (3, 0), 'level on the images with two results'
    assert (paired['points_below'], paired['without_result'], paired['within_limit']) == (50, 3, False)
    text = evaluate(*arguments, status=1).out
    assert 'tiny, counting 3 images without a result as wrong: it is NOT within 20.' in text


def scores(marks: str) -> Scores:
    """Of images that are correct (+), wrong (-) or without a result (blank)."""
    indices = np.array([i for i, mark in enumerate(marks) if mark != ' '])
    predicted = np.array([mark == '-' for mark in marks if mark != ' '], np.int64)
    ones = np.ones(len(indices), np.float32)
    return Scores(indices, np.zeros_like(indices), predicted[:, None], ones, None, ())


@pytest.mark.parametrize(('first', 'second', 'points', 'below', 'within'), [
    ('+' * 99 + '-', '+' * 100, 1.0, 1.0, True), ('+' * 98 + '--', '+' * 100, 1.0, 2.0, False),
    ('+' * 98 + '--', '+' * 100, 1.99, 2.0, False), ('+++', '+--', 0.0, -66.6667, True),
    ('+-+-', '-+-+', 0.0, 0.0, True), ('+  -', '++ -', 30.0, 33.3333, False),
    ('+++ ', ' +++', 0.0, 33.3333, False),
    ('++++', '  ++', 0.0, 0.0, True),
])
def test_the_limit_counts_images(first, second, points, below, within):
    figures = within_limit(scores(first), scores(second), points)
    assert (figures['points_below'], figures['within_limit']) == (below, within)


def test_the_text_is_a_table(evaluate, tiny, colors):
    ran = evaluate(colors, '--model', tiny)
    lines = ran.out.splitlines()
    assert lines[0] == f'{colors}: 7 images, 2 classes'
    for row in (['images', '6'], ['skipped', '1'], ['top-1', '83.3', '%'], ['retrieval', 'mAP', '70.0', '%']):
        assert row in [line.split() for line in lines]
    assert '   75.0 %  3 of 4  red' in lines
    assert '     1  red predicted as green' in lines
    assert 'terms: none needed' in ran.err and '/7' not in ran.err
    assert '7/7' in evaluate(colors, '--model', tiny, '--progress').err
    (line,) = evaluate(colors, '--model', tiny, '--json', '--limit', '2').lines
    assert line['images'] == 2 and {row['label'] for row in line['per_class']} == {'green', 'red'}


def test_no_result_at_all_is_status_1(evaluate, tiny, tmp_path):
    write_folder(tmp_path, {'red/a.png': b''})
    for extra in ((), ('--json',), ('--against', tiny)):
        ran = evaluate(tmp_path, '--model', tiny, *extra, status=1)
        assert f'none of the images of {tmp_path} could be scored' in ran.err
        assert 'red/a.png: not scored, ' in ran.err and 'top' not in ran.out


@pytest.mark.parametrize(('arguments', 'expected'), [
    (['{data}/nowhere'], 'does not exist: expected a folder or tar of <class>/<image>'),
    (['{data}', '--split', 'val'], 'no images in val/<class>/: it has no splits'),
    (['{data}', '--confusion', 'nowhere/out.png'], 'nowhere/out.png cannot be written: expected a name'),
    (['{data}', '--confusion', 'out.jpg'], 'out.jpg cannot be written: expected a name that ends in .png'),
    (['{data}', '--limit', '0'], "'0': expected an integer of 1 or more"),
    (['{data}', '--against', 'nothing'], 'nothing'),
    (['{data}', '--within', '1'], '--within 1.0: expected --against MODEL'),
    (['{data}', '--within', 'nan'], "'nan': expected percentage points from 0 to 100"),
    (['{data}', '--within', '-1'], 'expected percentage points from 0 to 100'),
    (['{unknown}'], "1 of the dataset's classes are not labels of tiny: 'reds' (like 'red'?); rename"),
    ([], 'the following arguments are required: DATASET'),
])
def test_wrong_arguments_are_one_error(evaluate, tiny, colors, tmp_path, arguments, expected):
    (tmp_path / 'unknown').mkdir()
    (tmp_path / 'unknown' / 'reds').symlink_to(colors / 'red')
    given = [text.format(data=colors, unknown=tmp_path / 'unknown') for text in arguments]
    assert expected in evaluate(*given, '--model', tiny, status=2).err.splitlines()[-1]


def test_the_default_model_scores_the_frames_of_a_camera(evaluate, repo_root, tmp_path):
    """Two of the demo's photos, each in five frames; the last of them is outside every range."""
    photos, entries = {'orange': 'orange.jpg', 'lemon': 'fruits.jpg'}, []
    with BagWriter(tmp_path / 'bag') as bag:
        for i, (label, file) in enumerate(photos.items()):
            pixels = cv2.imread(str(repo_root / 'demo' / 'photos' / file))
            for k in range(5):
                bag.image('/camera', pixels[k:, k:], 'bgr8', 10**18 + (5 * i + k) * 10**8)
            entries.append({'topic': '/camera', 'from_s': i / 2, 'to_s': i / 2 + 0.4, 'label': label})
    (tmp_path / 'bag.labels.yaml').write_text(json.dumps(entries))
    (line,) = evaluate(tmp_path / 'bag', '--json').lines
    assert (line['images'], line['skipped'], line['classes']) == (8, 0, 2)
    assert line['left_out'] == {'frames outside every range': 2}
    assert 0 < line['map'] <= 1 and 0 <= line['ece'] <= 1 and line['top1'] <= line['top5']


@pytest.mark.parametrize('count', [1, 6, 200])
def test_a_confusion_matrix_is_readable_with_any_number_of_classes(count):
    matrix = np.zeros((count, count + 1), np.int64)
    matrix[np.arange(count), np.arange(count)] = 99
    matrix[0, -1] = 1
    names = [f'class {i} with $a name$ that is far too long for a margin' for i in range(count)]
    figure = Figure(figsize=(11.5, 11), dpi=100, layout='constrained')
    axes = figure.subplots()
    draw_matrix(axes, matrix, names, 'model: top-1 99.0 %')
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    drawn = np.asarray(canvas.buffer_rgba())[..., :3].astype(int)
    shaded = np.abs(drawn - (0, 45, 120)).max(axis=2) < 12
    rows, columns = np.nonzero(shaded[:, :int(axes.get_window_extent().x1)])  # the diagonal
    assert len(rows) > 50
    # Names fill the left margin from top to bottom; the title is above the matrix.
    text = drawn.max(axis=2) < 100
    assert text[:rows.min(), :].sum() > 200
    heights = np.nonzero(text[rows.min():, :columns.min()].any(axis=1))[0]
    assert len(heights)
    if count > 1:
        assert heights.max() - heights.min() >= 0.8 * (rows.max() - rows.min()) - 20
