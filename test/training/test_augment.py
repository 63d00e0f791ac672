# SPDX-License-Identifier: Apache-2.0
"""Augmentation of images and targets, from given random numbers."""

import pytest

torch = pytest.importorskip('torch')

from shufflenet_ros.training.augment import color_jitter, crop_flip, cutmix, mixup  # noqa: E402
from shufflenet_ros.zoo.normalization import IMAGENET, normalize  # noqa: E402


def rand(n, k, seed=0):
    return torch.rand(n, k, generator=torch.Generator().manual_seed(seed))


def test_normalize_is_that_of_imagenet():
    batch = torch.full((1, 2, 2, 3), 128, dtype=torch.uint8)
    assert normalize(batch)[0, :, 0, 0].tolist() == pytest.approx(
        [(128 / 255 - m) / s for m, s in zip(IMAGENET.mean, IMAGENET.std)], abs=1e-5)


def test_a_full_crop_is_the_image_or_its_mirror():
    # Clamped to the image, a crop of several times its area is the whole image.
    x = torch.randn(64, 3, 24, 24)
    crops = crop_flip(x, 24, (4.0, 4.0), False, rand(64, 6))
    plain = (crops - x).abs().amax((1, 2, 3)) < 1e-4
    mirrored = (crops - x.flip(3)).abs().amax((1, 2, 3)) < 1e-4
    assert (plain ^ mirrored).all() and 10 < int(mirrored.sum()) < 54
    constant = torch.ones(4, 3, 24, 24)
    assert torch.allclose(crop_flip(constant, 16, (0.3, 1.0), True, rand(4, 6)), torch.ones(4, 3, 16, 16))


def test_rotations_and_mirrors_are_the_eight_symmetries_of_a_square():
    x = torch.randn(1, 3, 16, 16)
    ways = [y for k in range(4) for y in (x.rot90(k, (2, 3)), x.flip(3).rot90(k, (2, 3)))]
    crops = crop_flip(x.expand(200, 3, 16, 16), 16, (4.0, 4.0), True, rand(200, 6))
    which = [[i for i, way in enumerate(ways) if (crop - way[0]).abs().max() < 1e-3] for crop in crops]
    assert all(len(match) == 1 for match in which)
    assert {match[0] for match in which} == set(range(8))


def test_a_crop_covers_its_share_at_any_position():
    ramp = torch.linspace(0, 1, 64).expand(200, 1, 64, 64)  # the value of a pixel is its position
    crops = crop_flip(ramp, 16, (0.25, 0.25), False, rand(200, 6))
    left, right = crops.amin((1, 2, 3)), crops.amax((1, 2, 3))
    assert float((right - left).mean()) == pytest.approx(0.5 * 15 / 16, abs=0.03)
    assert left.min() < 0.05 and right.max() > 0.95


def test_jitter_keeps_the_image_and_its_range():
    x = torch.randn(8, 3, 16, 16)
    assert torch.allclose(color_jitter(x, 0.0, rand(8, 2)), x, atol=1e-6)
    gains = color_jitter(x, 0.2, rand(8, 2)).std((1, 2, 3)) / x.std((1, 2, 3))
    assert ((gains > 0.75) & (gains < 1.25)).all() and gains.std() > 0


def test_mixup_blends_neighbors_and_their_targets_alike():
    x, target = torch.arange(5.0)[:, None, None, None].expand(5, 3, 2, 2), torch.eye(5)
    mixed, targets = mixup(x, target, 0.75)
    assert mixed[:, 0, 0, 0].tolist() == [0.25, 0.75, 2.25, 2.75, 4.0]
    assert targets[0].tolist() == [0.75, 0.25, 0, 0, 0] and targets[4].tolist() == [0, 0, 0, 0, 1]
    assert torch.allclose(targets.sum(1), torch.ones(5))


@pytest.mark.parametrize('center', [(0.5, 0.5), (0.0, 1.0)])
def test_cutmix_counts_the_box_that_lies_inside(center):
    x, target = torch.tensor([0.0, 1.0])[:, None, None, None].expand(2, 3, 8, 8), torch.eye(2)
    mixed, targets = cutmix(x, target, 0.75, center)  # a box of half the side
    assert float(mixed[0].mean()) == pytest.approx(float(targets[0, 1]))
    assert float(mixed[0].mean()) == (0.25 if center == (0.5, 0.5) else 1 / 16)
    assert torch.equal(x[0], torch.zeros(3, 8, 8)), 'the batch itself is left alone'
