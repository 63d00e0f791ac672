"""Augmentation of a whole batch at once, on whatever device it is."""

import math

import torch
import torch.nn.functional as F


def random_crop_flip(
    batch: torch.Tensor, px: int, scale: tuple[float, float], generator: torch.Generator | None = None
) -> torch.Tensor:
    """Random resized crop and mirror as one affine resampling for the whole batch.

    Args:
        batch: (N, C, H, W) float32.
        px: side of the result.
        scale: range of the crop's share of the image's area; its aspect ratio lies in 3/4 .. 4/3.
        generator: source of the random numbers.

    Returns:
        (N, C, px, px) float32.
    """
    n = batch.shape[0]
    rand = torch.rand(n, 5, generator=generator)
    area = scale[0] + (scale[1] - scale[0]) * rand[:, 0]
    ratio = torch.exp((rand[:, 1] * 2 - 1) * math.log(4 / 3))
    w, h = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = w * torch.where(rand[:, 4] < 0.5, -1.0, 1.0)
    theta[:, 1, 1] = h
    theta[:, 0, 2] = (1 - w) * (rand[:, 2] * 2 - 1)
    theta[:, 1, 2] = (1 - h) * (rand[:, 3] * 2 - 1)
    grid = F.affine_grid(theta.to(batch.device), [n, batch.shape[1], px, px], align_corners=False)
    return F.grid_sample(batch, grid, mode='bilinear', padding_mode='reflection', align_corners=False)


def colour_jitter(
    batch: torch.Tensor, strength: float, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Scale brightness and contrast of each normalised image by 1 +- strength."""
    rand = torch.rand(batch.shape[0], 2, 1, 1, 1, generator=generator).to(batch.device)
    gain = 1 + strength * (rand * 2 - 1)
    mean = batch.mean((1, 2, 3), keepdim=True)
    return (batch - mean) * gain[:, 0] + mean * gain[:, 1]
