"""`shufflenet-ros train`: a recipe and a set in, checkpoint, log and labels out."""

import argparse
import sys
from pathlib import Path

from shufflenet_ros.zoo.training.recipe import load_recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument('--recipe', required=True, help='name of a shipped recipe, or a YAML file')
    parser.add_argument('--data', required=True, type=Path, help='tar with train/<class>/* and val/<class>/*')
    parser.add_argument('--out', required=True, type=Path,
                        help='folder for checkpoint and log; resumed when there')
    parser.add_argument('--init', type=Path, help='folder of an earlier run whose weights to start from')
    parser.add_argument('--threads', type=int, default=0, help='CPU threads (default: torch decides)')


def run(args: argparse.Namespace) -> int:
    """Train to the recipe's end."""
    recipe = load_recipe(args.recipe)
    if not args.data.is_file():
        raise FileNotFoundError(f'--data {args.data}: expected a tar with train/<class>/* and val/<class>/*')
    import torch

    from shufflenet_ros.zoo.training.trainer import Trainer
    if args.threads:
        torch.set_num_threads(args.threads)
    top1 = Trainer(recipe, args.data, args.out, args.init).run()
    print(f'{recipe.name}: validation top-1 {top1:.4f}; next: shufflenet-ros export --run {args.out}',
          file=sys.stderr)
    return 0
