"""What machine this is, and the choices that follow from it, each with its reason in words."""

import os
import platform
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import torch

from trainwell.errors import OptionInvalid

REPORTED_PACKAGES = (
    "trainwell",
    "torch",
    "numpy",
    "pillow",
    "simplejpeg",
    "safetensors",
    "pydantic",
    "scikit-learn",
    "plotly",
)

# Multiply-adds of a batch's forward pass from which bfloat16 pays. Measured on 2 Zen cores with AVX512-BF16, a training
# step of the small ConvNet against float32: 1.6e8 1.1 times as fast, 6.6e8 1.6 times, 3.7e9 1.8 times.
BF16_MULTIPLY_ADDS = 300_000_000

# Below this many, sharing work gains little on a quiet machine and loses much on a busy one, where threads wait for
# each other. Measured on 2 Zen cores, a training step with one and two threads: the tiny MLP (6e5) 0.39 and 0.52 ms;
# the ConvNet on digits (1.8e8) 13 and 8 ms alone, 13 and 33 ms beside one busy process.
SHARED_MULTIPLY_ADDS = 250_000_000
MOST_THREADS_PER_CORE = 4


@dataclass(frozen=True)
class AutoChoice:
    """One decision that was left to us: which field of the recipe, what was chosen, and why."""

    field: str
    value: Any
    reason: str

    def __str__(self) -> str:
        return f"{self.field} = {self.value} ({self.reason})"


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> int:
    """Return the machine's memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def cpu_name() -> str:
    """Return the processor's name as the operating system says it."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 numbers in hardware."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    return device.type == "cpu" and not {"avx512_bf16", "amx_bf16"}.isdisjoint(_cpuinfo("flags").split())


def _cpuinfo(field: str) -> str:
    """Return a field of the first processor, or the empty string where the system does not say."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next((line.partition(":")[2].strip() for line in file if line.startswith(field)), "")
    except OSError:
        return ""


def facts() -> dict[str, Any]:
    """Return versions and hardware as plain data."""
    versions: dict[str, str] = {"python": platform.python_version()}
    for package in REPORTED_PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "versions": versions,
        "system": platform.platform(),
        "processor": cpu_name(),
        "cores": available_cores(),
        "memory_gib": round(memory_bytes() / 2**30, 1),
        "gpus": gpus,
        "bfloat16_in_hardware": has_fast_bfloat16(torch.device("cpu")),
    }


def choose_device(asked: str) -> AutoChoice:
    """Return the device to train on.

    Raises:
        OptionInvalid: the device asked for does not exist here.
    """
    if asked != "auto":
        _check_device(asked)
        return AutoChoice("machine.device", asked, "asked for")
    if torch.cuda.is_available():
        return AutoChoice("machine.device", "cuda:0", f"there is a {torch.cuda.get_device_name(0)}")
    return AutoChoice("machine.device", "cpu", "this torch sees no GPU")


def _check_device(asked: str) -> None:
    there = ["cpu"] + [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    try:
        device = torch.device(asked)
    except RuntimeError:
        device = None
    known = device is not None and (device.type == "cpu" or (device.type == "cuda" and torch.cuda.is_available()))
    if device is None or not known or (device.index or 0) >= max(torch.cuda.device_count(), 1):
        raise OptionInvalid(f"machine.device must be one of {', '.join(there)} on this machine, got {asked!r}")


def check_threads(asked: int) -> None:
    """Refuse so many threads that they would only wait for each other.

    Raises:
        OptionInvalid: more than a few for each core.
    """
    cores = available_cores()
    if asked > MOST_THREADS_PER_CORE * cores:
        raise OptionInvalid(
            f"machine.threads must be at most {MOST_THREADS_PER_CORE} times the {cores} cores of this process, got"
            f" {asked}: more threads only wait for each other"
        )


def choose_threads(*, multiply_adds: float) -> AutoChoice:
    """Return how many threads compute on the CPU.

    Args:
        multiply_adds: multiply-adds of one forward pass of one batch.
    """
    cores = available_cores()
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and 0 < int(asked) < cores:
        return AutoChoice("machine.threads", int(asked), f"OMP_NUM_THREADS is {asked}")
    if cores > 1 and multiply_adds < SHARED_MULTIPLY_ADDS:
        reason = f"a batch costs {multiply_adds:.1e} multiply-adds, too few to share between {cores} cores"
        return AutoChoice("machine.threads", 1, reason)
    return AutoChoice("machine.threads", cores, f"this process may use {cores} core{'s' if cores > 1 else ''}")


def choose_memory_format(asked: str, *, input_dims: int) -> AutoChoice:
    """Return the memory order of images: channels-last for images, contiguous for features."""
    if asked != "auto":
        return AutoChoice("machine.memory_format", asked, "asked for")
    if input_dims == 4:
        return AutoChoice("machine.memory_format", "channels_last", "convolutions on images run faster in this order")
    return AutoChoice("machine.memory_format", "contiguous", "the inputs are features, not images")


def propose_precision(asked: str, device: torch.device, *, multiply_adds: float) -> AutoChoice:
    """Return the precision to try; a lower one must still prove that it agrees with float32.

    Args:
        asked: `float32`, `bfloat16` or `auto`.
        device: where the run computes.
        multiply_adds: multiply-adds of one forward pass of one batch.
    """
    field = "machine.precision"
    if asked != "auto":
        return AutoChoice(field, asked, "asked for")
    if not has_fast_bfloat16(device):
        return AutoChoice(field, "float32", f"{device.type} has no bfloat16 in hardware")
    cost = f"a batch costs {multiply_adds:.1e} multiply-adds"
    if multiply_adds < BF16_MULTIPLY_ADDS:
        return AutoChoice(field, "float32", f"{cost}, too few for bfloat16 to pay")
    return AutoChoice(field, "bfloat16", f"{cost} and {device.type} has bfloat16 in hardware")
