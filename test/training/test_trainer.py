# SPDX-License-Identifier: Apache-2.0
"""The trainer on data that is learned in seconds: it learns, resumes, shares its work and reports."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace

import numpy as np
import pytest

torch = pytest.importorskip('torch')

from shufflenet_ros.cli.main import main  # noqa: E402
from shufflenet_ros.training.batches import Batches  # noqa: E402
from shufflenet_ros.training.checkpoint import lock_run, read_checkpoint  # noqa: E402
from shufflenet_ros.training.data import ImageDataset, load_datasets  # noqa: E402
from shufflenet_ros.training.recipe import Recipe  # noqa: E402
from shufflenet_ros.training.trainer import Trainer, TrainingInterruptedError  # noqa: E402
from shufflenet_ros.zoo.errors import ZooError  # noqa: E402
from shufflenet_ros.zoo.normalization import IMAGENET  # noqa: E402
from shufflenet_ros.zoo.registry import build, config_of, values_of  # noqa: E402

# Half of the units, so that a run takes a second.
NETWORK = {'groups': 3, 'width': 0.25, 'repeats': [2, 2, 2]}
TINY = Recipe(name='tiny', network=NETWORK, px=32, epochs=8, batch=8, learning_rate=0.01, warmup_epochs=0.5,
              early_px=32, early_share=0.4)
EVERYTHING = replace(TINY, epochs=3, ema=0.9, mixup=0.2, cutmix=1.0, label_smoothing=0.1, teacher='some')
CPU = torch.device('cpu')


@pytest.fixture(scope='module')
def datasets(tiny_tar):
    return load_datasets(tiny_tar, None, 32)


@pytest.fixture(scope='module')
def logits(datasets):
    return np.random.default_rng(0).normal(0, 1, (len(datasets[0].targets), 3)).astype(np.float16)


@pytest.fixture(autouse=True)
def plots(monkeypatch):
    """The number of epochs in each plot. Nothing is plotted, because that takes longer than these runs.

    `finished`, whose scope is the module, does plot.
    """
    plotted = []
    monkeypatch.setattr('shufflenet_ros.training.run_log.plot_curves',
                        lambda history, *_: plotted.append(len(history)))
    return plotted


@pytest.fixture(scope='module')
def command(tiny_tar, tmp_path_factory):
    """`train` with a recipe like TINY, without --out."""
    path = tmp_path_factory.mktemp('recipe') / 'tiny.yaml'
    path.write_text(json.dumps({'name': 'tiny', 'network': NETWORK, 'px': 32, 'epochs': 12, 'batch': 8,
                                'learning_rate': 0.01, 'warmup_epochs': 0.5}))
    return ['train', '--recipe', str(path), '--data', str(tiny_tar), '--threads', '1', '--device', 'cpu']


@pytest.fixture(scope='module')
def finished(command, tmp_path_factory):
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp('runs') / 'finished'
    assert main([*command, '--out', str(folder)]) == 0
    return folder


def python(*arguments):
    return [sys.executable, '-m', 'shufflenet_ros.cli', *arguments]


def lines(run):
    return [json.loads(line) for line in (run / 'log.jsonl').read_text().splitlines()]


def assert_equal_runs(one, other):
    a, b = read_checkpoint(one), read_checkpoint(other)
    for part in ('model', 'ema'):
        for name, value in (a[part] or {}).items():
            assert torch.equal(value, b[part][name]), f'{part}: {name}'
    for group, state in a['optimizer']['state'].items():
        assert torch.equal(state['momentum_buffer'], b['optimizer']['state'][group]['momentum_buffer'])
    learned = [[{k: v for k, v in line.items() if k not in ('minutes', 'core_minutes', 'images_per_s')}
               for line in lines(run)] for run in (one, other)]
    assert learned[0] == learned[1]


def test_learns_three_colors_and_logs_it(finished):
    log = lines(finished)
    assert log[-1]['val_top1'] >= 0.9  # chance is 0.33
    assert [line['epoch'] for line in log] == [*range(1, 13)] and log[-1]['loss'] < log[0]['loss']
    assert json.loads((finished / 'labels.json').read_text()) == ['blue', 'green', 'red']
    assert (finished / 'curves.png').read_bytes().startswith(b'\x89PNG')
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    board = EventAccumulator(str(finished / 'tensorboard'))
    board.Reload()
    assert [round(item.value, 4) for item in board.Scalars('val_top1')] == [
        pytest.approx(line['val_top1']) for line in log]


def stop_after(monkeypatch, steps, number):
    """Send this process a signal during the given step, counted from now."""
    step, count = Trainer.train_step, itertools.count(1)

    def train_step(trainer):
        if next(count) == steps:
            signal.raise_signal(number)
        return step(trainer)

    monkeypatch.setattr(Trainer, 'train_step', train_step)


def test_an_interruption_at_any_step_changes_nothing(datasets, logits, tmp_path, monkeypatch, plots):
    def trainer(name):
        return Trainer(EVERYTHING, *datasets, tmp_path / name, teacher=logits)

    trainer('whole').run()
    # Inside the first epoch, at its end, and inside the second.
    for stop, number in ((2, signal.SIGINT), (9, signal.SIGTERM), (14, signal.SIGINT)):
        with monkeypatch.context() as patch, pytest.raises(TrainingInterruptedError):
            stop_after(patch, stop, number)
            trainer(f'halves{stop}').run()
        second = trainer(f'halves{stop}')
        assert second.epoch * 9 + second.step == stop
        assert plots[-1] == second.epoch or not second.epoch, 'the curves must be current when a run stops'
        second.run()
        assert plots[-1] == 3
        assert_equal_runs(tmp_path / 'whole', tmp_path / f'halves{stop}')


def test_sigterm_ends_the_command_with_130(command, tmp_path, monkeypatch, capsys):
    stop_after(monkeypatch, 3, signal.SIGTERM)
    assert main([*command, '--out', str(tmp_path)]) == 130
    assert 'stopped in epoch 1 after step 3; the same command resumes' in capsys.readouterr().err


def test_a_killed_run_resumes_and_ends_as_an_undisturbed_one(command, finished, tmp_path, plots):
    run = tmp_path / 'run'
    with subprocess.Popen(python(*command, '--out', str(run)), stderr=subprocess.PIPE) as process:
        while not (run / 'log.jsonl').exists() and process.poll() is None:
            time.sleep(0.02)
        process.kill()
        err = process.communicate(timeout=60)[1].decode()
    assert process.returncode == -signal.SIGKILL, err
    assert 1 <= read_checkpoint(run)['epoch'] < 12, 'it should be interrupted midway'
    assert main([*command, '--out', str(run)]) == 0
    assert_equal_runs(finished, run)
    (run / 'log.jsonl').unlink()  # as if it was killed after the last checkpoint, before the log
    plots.clear()
    assert main([*command, '--out', str(run)]) == 0
    assert_equal_runs(finished, run)
    assert plots == [12]


def test_two_processes_learn_what_one_learns(command, datasets, tmp_path):
    command = [*command, '--set', 'epochs=3', '--set', 'frozen=norms', '--set', 'mixup=0.2', '--set',
               'cutmix=1', '--out']
    assert main([*command, str(tmp_path / 'one')]) == 0
    torchrun = [sys.executable, '-m', 'torch.distributed.run', '--nproc-per-node', '2', '--master-addr',
                '127.0.0.1', '--master-port', str(29500 + os.getpid() % 1000),
                *python(*command, str(tmp_path / 'two'))[1:]]
    done = subprocess.run(torchrun, env=os.environ | {'OMP_NUM_THREADS': '1'}, capture_output=True, text=True,
                          timeout=240)
    assert done.returncode == 0, done.stderr
    one, two = (read_checkpoint(tmp_path / name)['model'] for name in ('one', 'two'))
    start = Trainer(TINY, *datasets, tmp_path / 'start').model.state_dict()
    for name, value in one.items():
        if value.is_floating_point():
            moved = (value - start[name]).abs().max()
            assert (value - two[name]).abs().max() <= 1e-3 * moved + 1e-6, name
    assert (one['fc.weight'] - start['fc.weight']).abs().max() > 1e-3
    logs = [lines(tmp_path / name) for name in ('one', 'two')]
    assert [line['val_top1'] for line in logs[0]] == [line['val_top1'] for line in logs[1]]


def test_shares_of_a_batch_are_the_batch(datasets, logits):
    recipe = replace(EVERYTHING, batch=16)
    whole = Batches(datasets[0], recipe, IMAGENET, CPU, logits)
    shares = [Batches(datasets[0], recipe, IMAGENET, CPU, logits, rank, 4) for rank in range(4)]
    for epoch, step in ((0, 0), (2, 3)):
        expected, parts = whole.batch(epoch, step), [share.batch(epoch, step) for share in shares]
        for name in ('x', 'targets'):
            assert torch.equal(getattr(expected, name), torch.cat([getattr(part, name) for part in parts]))
    assert not torch.equal(whole.batch(0, 0).x, whole.batch(1, 0).x)


def test_an_epoch_sees_each_image_once_with_its_own_label(datasets):
    plain = replace(TINY, color_jitter=0.0, crop_scale=(1.0, 1.0))
    pixels = np.arange(72, dtype=np.uint8)[:, None, None, None] * np.ones((1, 32, 32, 3), np.uint8)
    numbered = ImageDataset(pixels, datasets[0].targets, datasets[0].labels)
    batches = Batches(numbered, plain, IMAGENET, CPU)
    seen = []
    for step in range(batches.steps):
        batch = batches.batch(0, step)
        value = (batch.x[:, 0].mean((1, 2)) * IMAGENET.std[0] + IMAGENET.mean[0]) * 255
        number = value.round().int().numpy()
        seen += number.tolist()
        assert np.array_equal(batch.targets[:, 0].argmax(1).numpy(), datasets[0].targets[number])
    assert sorted(seen) == list(range(72)) and seen != sorted(seen)


@pytest.mark.parametrize('frozen', ['backbone', 'norms'])
def test_frozen_parts_stay(datasets, tmp_path, frozen):
    Trainer(TINY, *datasets, tmp_path / 'before').save()
    recipe = replace(TINY, epochs=1, warmup_epochs=0.1, frozen=frozen)
    trainer = Trainer(recipe, *datasets, tmp_path / 'run', init=str(tmp_path / 'before'))
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.run()
    after = trainer.model.state_dict()
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert {'fc.weight', 'fc.bias'} <= moved
    if frozen == 'backbone':
        assert moved == {'fc.weight', 'fc.bias'}
    assert not any('running' in name or 'tracked' in name for name in moved)


def test_random_weights_are_not_frozen(datasets, tmp_path):
    frozen = replace(TINY, frozen='backbone', network='')
    with pytest.raises(ZooError, match='without --init: expected trained weights'):
        Trainer(frozen, *datasets, tmp_path)
    config = config_of('shufflenet_v2_x0_5', 1000)
    body = {key: value for key, value in build(config).state_dict().items() if key[:3] not in ('fc.', 'las')}
    card = {'training': {}, 'source': '', 'license': ''}
    torch.save({'network': values_of(config), 'model': body, 'labels': [], 'card': card,
                'normalization': asdict(IMAGENET)}, tmp_path / 'body.pt')
    with pytest.raises(ZooError, match='has no last convolution'):
        Trainer(frozen, *datasets, tmp_path, init=str(tmp_path / 'body.pt'))


def test_averaged_weights_are_validated(datasets, tmp_path):
    trainer = Trainer(replace(TINY, epochs=1, ema=0.5, warmup_epochs=0.1), *datasets, tmp_path)
    trainer.run()
    state = read_checkpoint(tmp_path)
    name = 'stage4.1.expand.weight'
    assert not torch.equal(state['ema'][name], state['model'][name])
    trainer.model.load_state_dict(state['ema'])
    trainer.ema = None
    assert trainer.validate()['val_top1'] == pytest.approx(lines(tmp_path)[0]['val_top1'], abs=1e-4)


def test_the_teacher_is_learned(datasets, tmp_path):
    """With the whole weight on a teacher that confuses classes, the network confuses them, too."""
    wrong = np.eye(3, dtype=np.float16)[(datasets[0].targets + 1) % 3] * 10
    trainer = Trainer(replace(TINY, teacher='some', distill_weight=1.0), *datasets, tmp_path, teacher=wrong)
    assert trainer.run() <= 0.1
    with pytest.raises(ZooError, match="the recipe's teacher is ''"):
        Trainer(TINY, *datasets, tmp_path / 'other', teacher=wrong)
    with pytest.raises(ZooError, match=r'logits are of shape \(5, 3\): expected \(72, 3\)'):
        Trainer(replace(TINY, teacher='some'), *datasets, tmp_path / 'other', teacher=wrong[:5])


def test_weight_decay_spares_norms_and_biases(datasets, tmp_path):
    decayed, plain = Trainer(TINY, *datasets, tmp_path).optimizer.param_groups
    assert decayed['weight_decay'] == 4e-5 and all(p.ndim > 1 for p in decayed['params'])
    assert plain['weight_decay'] == 0 and all(p.ndim == 1 for p in plain['params'])


def test_checkpoints_of_other_runs_are_rejected(datasets, tmp_path):
    Trainer(TINY, *datasets, tmp_path).save()
    with pytest.raises(ZooError, match='another recipe .epochs 8 instead of 5'):
        Trainer(replace(TINY, epochs=5), *datasets, tmp_path)
    renamed = [replace(part, labels=('a', 'b', 'c')) for part in datasets]
    with pytest.raises(ZooError, match='other classes'):
        Trainer(TINY, *renamed, tmp_path)
    fewer = replace(datasets[1], images=datasets[1].images[1:], targets=datasets[1].targets[1:])
    with pytest.raises(ZooError, match='on other images .72 and 24 of .* instead of 72 and 23 of'):
        Trainer(TINY, datasets[0], fewer, tmp_path)
    with pytest.raises(ZooError, match="started from '' instead of 'some'"):
        Trainer(TINY, *datasets, tmp_path, init='some')
    whole = (tmp_path / 'checkpoint.pt').read_bytes()
    for damaged in (whole[:1000], b''):
        (tmp_path / 'checkpoint.pt').write_bytes(damaged)
        with pytest.raises(ZooError, match='cannot be read'):
            Trainer(TINY, *datasets, tmp_path)
    torch.save({'model': {}}, tmp_path / 'checkpoint.pt')
    with pytest.raises(ZooError, match='lacks datasets, ema, epoch'):
        Trainer(TINY, *datasets, tmp_path)


def test_impossible_batches_are_rejected(datasets):
    for batch, world, complaint in ((100, 1, 'at most the 72 training images; --set batch=18'),
                                    (1, 1, 'at least two images each'),
                                    (8, 3, 'multiple of the 3 processes')):
        with pytest.raises(ZooError, match=complaint):
            Batches(datasets[0], replace(TINY, batch=batch), IMAGENET, CPU, world=world)


def test_a_loss_that_explodes_ends_the_run_and_keeps_the_state(datasets, tmp_path):
    recipe = replace(TINY, learning_rate=100.0, momentum=0.99, warmup_epochs=0.0, epochs=20)
    with pytest.raises(ZooError, match=r'loss is (nan|inf).*--set learning_rate'):
        Trainer(recipe, *datasets, tmp_path).run()


def test_a_dry_run_reports_and_keeps_nothing(command, tmp_path, capsys):
    run = tmp_path / 'run'
    options = ['--set', 'network=shufflenet_v1_x0_25_g3', '--set', 'batch=72']  # one step is the whole epoch
    assert main([*command, *options, '--out', str(run), '--dry-run']) == 0
    report = json.loads(capsys.readouterr().out)
    assert not run.exists()
    assert report['classes'] == 3 and report['training_images'] == 72 and report['smallest_class'] == 24
    assert report['network'] == 'shufflenet_v1_x0_25_g3' and report['input'] == [72, 3, 32, 32]
    assert report['images_per_s'] > 0 and report['estimated_minutes'] >= 0


def test_a_run_belongs_to_one_process(command, tmp_path, capsys):
    with lock_run(tmp_path / 'run'):
        assert main([*command, '--out', str(tmp_path / 'run')]) == 2
    assert 'another process trains into it' in capsys.readouterr().err
    assert main([*command, '--out', command[2]]) == 2
    assert 'File exists; expected a folder' in capsys.readouterr().err


@pytest.mark.parametrize('arguments, complaint', [
    (['--data', 'nothing.tar'], 'does not exist'),
    (['--threads', '-1'], '--threads -1: expected'),
    (['--set', 'network={repeats: 3}'], 'no network can be built from it'),
    (['--set', 'network='], 'tiny has no network: expected --init'),
    pytest.param(['--device', 'cuda'], '--device cuda: no GPU',
                 marks=pytest.mark.skipif(torch.cuda.is_available(), reason='has a GPU')),
])
def test_bad_arguments_are_one_line(command, tmp_path, capsys, arguments, complaint):
    assert main([*command, '--out', str(tmp_path / 'run'), *arguments]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith('shufflenet-ros: error: ') and complaint in error
