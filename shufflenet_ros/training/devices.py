# SPDX-License-Identifier: Apache-2.0
"""The devices that a run trains on."""

import os
from typing import Literal

import torch
from lightning_fabric import Fabric

from shufflenet_ros.zoo.errors import ZooError


def make_fabric(device: str = 'auto', threads: int = 0) -> Fabric:
    """The devices of this run: one for each process that torchrun started, else one.

    On a GPU the precision is mixed: bfloat16 if the GPU has it, else float16.

    Args:
        device: auto, cpu or cuda.
        threads: CPU threads; 0 lets torch decide.

    Raises:
        ZooError: this machine has no such device, or threads is negative.
    """
    if threads < 0:
        raise ZooError(f'--threads {threads}: expected 1 or more, or 0 to let torch decide')
    if threads:
        torch.set_num_threads(threads)
    on_gpu = device != 'cpu' and torch.cuda.is_available()
    if device == 'cuda' and not on_gpu:
        raise ZooError('--device cuda: no GPU that this PyTorch can use; expected --device cpu')
    precision: Literal['32-true', 'bf16-mixed', '16-mixed'] = '32-true'
    if on_gpu:
        precision = 'bf16-mixed' if torch.cuda.is_bf16_supported() else '16-mixed'
    world = int(os.environ.get('WORLD_SIZE', '1'))
    local = int(os.environ.get('LOCAL_WORLD_SIZE', '1'))
    fabric = Fabric(accelerator='cuda' if on_gpu else 'cpu', devices=local, num_nodes=world // local,
                    strategy='ddp' if world > 1 else 'auto', precision=precision)
    fabric.launch()
    return fabric
