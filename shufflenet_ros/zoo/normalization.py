# SPDX-License-Identifier: Apache-2.0
"""From images to the input of a network."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Normalization:
    """The normalization of training images: (pixel / 255 - mean) / std for each of the channels R, G, B."""

    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)


IMAGENET = Normalization()


def normalize(batch: torch.Tensor, normalization: Normalization = IMAGENET) -> torch.Tensor:
    """(N, H, W, 3) uint8 RGB -> (N, 3, H, W) float32."""
    mean = 255 * torch.tensor(normalization.mean, device=batch.device)[:, None, None]
    std = 255 * torch.tensor(normalization.std, device=batch.device)[:, None, None]
    # Transposed as bytes, before they become floats: a quarter of the memory to move.
    return batch.permute(0, 3, 1, 2).contiguous().float().sub_(mean).div_(std)
