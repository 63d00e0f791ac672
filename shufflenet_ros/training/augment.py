# SPDX-License-Identifier: Apache-2.0
"""Augmentation of a whole batch at once, on any device.

The random numbers are arguments. So a batch depends only on seed, epoch and step: a resumed run, or one on
several devices, sees the same images.
"""

import math

import torch
import torch.nn.functional as F

CROP_NUMBERS = 6
COLOR_NUMBERS = 2


def crop_flip(batch: torch.Tensor, px: int, scale: tuple[float, float], rotate90: bool, rand: torch.Tensor
              ) -> torch.Tensor:
    """Random resized crop, mirroring and rotation by quarter turns, as one affine resampling.

    Args:
        batch: (N, C, H, W) float32.
        px: side of the result.
        scale: range of the crop's share of the image's area; its aspect ratio is 3/4 .. 4/3.
        rotate90: also rotate by 0, 90, 180 or 270 degrees.
        rand: (N, 6) uniform in [0, 1).

    Returns:
        (N, C, px, px) float32.
    """
    area = scale[0] + (scale[1] - scale[0]) * rand[:, 0]
    ratio = torch.exp((rand[:, 1] * 2 - 1) * math.log(4 / 3))
    w, h = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
    angle = (rand[:, 5] * 4).floor() * (math.pi / 2) * rotate90
    cos, sin = angle.cos(), angle.sin()
    mirror = torch.where(rand[:, 4] < 0.5, -1.0, 1.0)
    # The rows of each image's matrix as (N, 1, 1, 2): what x, y and 1 add to (x, y).
    by_x = _pairs(w * mirror * cos, h * mirror * sin).to(batch.device)
    by_y = _pairs(-w * sin, h * cos).to(batch.device)
    shift = _pairs((1 - w) * (rand[:, 2] * 2 - 1), (1 - h) * (rand[:, 3] * 2 - 1)).to(batch.device)
    # F.affine_grid would take three times as long as the sampling itself.
    centers = (2 * torch.arange(px, device=batch.device) + 1) / px - 1
    grid = torch.addcmul(torch.addcmul(shift, by_x, centers[:, None]), by_y, centers[:, None, None])
    return F.grid_sample(batch, grid, mode='bilinear', padding_mode='reflection', align_corners=False)


def _pairs(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    return torch.stack((first, second), 1)[:, None, None]


def color_jitter(batch: torch.Tensor, strength: float, rand: torch.Tensor) -> torch.Tensor:
    """Scale brightness and contrast of each normalized image by 1 +- strength.

    Args:
        batch: (N, C, H, W) float32.
        rand: (N, 2) uniform in [0, 1).
    """
    gain = (1 + strength * (rand * 2 - 1)).to(batch.device)[:, :, None, None, None]
    mean = batch.mean((1, 2, 3), keepdim=True)
    return torch.addcmul(mean * (gain[:, 1] - gain[:, 0]), batch, gain[:, 0])


def _partners(values: torch.Tensor) -> torch.Tensor:
    """Swap items 0 and 1, 2 and 3, and so on; the last of an odd number is its own partner.

    Batches are in random order, so neighbors are as good as any pairs, and they stay together when devices
    share a batch.
    """
    even = len(values) // 2 * 2
    swapped = values[:even].reshape(-1, 2, *values.shape[1:]).flip(1).flatten(0, 1)
    return torch.cat((swapped, values[even:]))


def mixup(batch: torch.Tensor, targets: torch.Tensor, share: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Blend each image and its targets with its partner's (Zhang et al. 2018).

    Args:
        batch: (N, C, H, W) float32.
        targets: (N, ..., K), distributions over the classes.
        share: weight of the image itself; the partner has the rest.
    """
    return batch.lerp(_partners(batch), 1 - share), targets.lerp(_partners(targets), 1 - share)


def cutmix(batch: torch.Tensor, targets: torch.Tensor, share: float, center: tuple[float, float]
           ) -> tuple[torch.Tensor, torch.Tensor]:
    """Paste a box of the partner into each image, and blend the targets by area (Yun et al. 2019).

    Args:
        batch, targets: see `mixup`.
        share: of the image's area that stays; more if the box is partly outside.
        center: of the box, as shares of height and width.
    """
    h, w = batch.shape[2:]
    side = math.sqrt(1 - share)
    (top, bottom), (left, right) = (
        (max(0, round((at - side / 2) * n)), min(n, round((at + side / 2) * n)))
        for at, n in zip(center, (h, w)))
    mixed = batch.clone(memory_format=torch.preserve_format)
    mixed[:, :, top:bottom, left:right] = _partners(batch)[:, :, top:bottom, left:right]
    return mixed, targets.lerp(_partners(targets), (bottom - top) * (right - left) / (h * w))
