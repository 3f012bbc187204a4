"""Settings of this process that a run needs: threads and determinism."""

import os

import torch

from trainwell.core.recipe import Recipe


def prepare_process(recipe: Recipe) -> None:
    """Set threads and determinism as the recipe says."""
    torch.set_num_threads(int(recipe.machine.threads))
    if recipe.machine.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(recipe.machine.deterministic)
