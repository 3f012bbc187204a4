"""Settings of this process that a run needs: threads, determinism, and memory that is kept between steps."""

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from trainwell.core.machine import AutoChoice, available_cores
from trainwell.core.recipe import Recipe

# glibc's mallopt: never serve from mmap, never hand the top of the heap back, one arena for all threads.
# The trim threshold alone would be harmful: it turns off the growing mmap threshold.
KEEP_FREED = ((-4, 0), (-1, -1), (-8, 1))


@contextmanager
def process_settings(recipe: Recipe) -> Iterator[None]:
    """Set threads and determinism as the recipe says, and afterwards as they were."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    benchmark = torch.backends.cudnn.benchmark
    torch.set_num_threads(threads_of(recipe))
    if recipe.machine.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.backends.cudnn.benchmark = benchmark
        torch.use_deterministic_algorithms(deterministic)


def threads_of(recipe: Recipe) -> int:
    """Return how many threads to use: the recipe's number, or all cores as long as that is open."""
    threads = recipe.machine.threads
    return available_cores() if threads == "auto" else threads


def choose_memory(recipe: Recipe) -> AutoChoice | None:
    """Keep freed memory for the next step where the CPU computes; return what was chosen, or None."""
    if recipe.machine.device != "cpu" or not keep_freed_memory():
        return None
    reason = "asking the system for the activations' memory anew in each step costs 5 % of ResNet-20's time"
    return AutoChoice("process.memory", "kept between steps", reason)


def keep_freed_memory() -> bool:
    """Let the allocator keep freed activations instead of handing them back to the system at each step.

    Holds for the whole process; `return_freed_memory` gives back what is free then.

    Returns:
        Whether it could be set: on Linux with glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(option, value) == 1 for option, value in KEEP_FREED)


def return_freed_memory() -> None:
    """Give free memory back to the system; a no-op where the allocator is not glibc's."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
