"""What a layer reads of its inputs for one output: rows of numbers, or patches of images; all of them, or some."""

from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from trainwell.initialization.sites import Site


def patches_of(site: Site, inputs: Tensor) -> Tensor:
    """Return everything that a dense layer or a convolution multiplies its weight with.

    Returns:
        (N, positions, groups, fan_in), in the order of the columns of `Site.rows`.

    >>> from torch import nn
    >>> patches_of(Site("", nn.Conv2d(4, 6, 3, groups=2, padding=1)), torch.zeros(5, 4, 8, 8)).shape
    torch.Size([5, 64, 2, 18])
    """
    if not site.spatial:
        return inputs.reshape(len(inputs), -1, 1, inputs.shape[-1])
    windows = _windows(site, inputs)
    positions = windows.movedim(1, 1 + site.spatial)  # (N, L..., C, r...)
    return positions.reshape(len(inputs), -1, site.groups, site.fan_in)


def some_patches(site: Site, inputs: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Return at most so many patches, drawn without putting any back: (P, groups, fan_in).

    Only those drawn are copied, so inputs may be large.
    """
    rows = inputs.reshape(-1, inputs.shape[-1]) if not site.spatial else None
    windows = None if rows is not None else _windows(site, inputs).movedim(1, 1 + site.spatial)
    shape = windows.shape[: 1 + site.spatial] if windows is not None else cast(Tensor, rows).shape[:1]
    count = int(torch.Size(shape).numel())
    chosen = torch.arange(count)
    if count > most:
        chosen = torch.randperm(count, generator=generator, device=generator.device)[:most].cpu().sort().values
    if windows is None:
        return cast(Tensor, rows)[chosen.to(inputs.device)].unsqueeze(1)
    places = torch.unravel_index(chosen.to(inputs.device), shape)
    return windows[places].reshape(len(chosen), site.groups, site.fan_in)


def _windows(site: Site, inputs: Tensor) -> Tensor:
    """Return a view of the padded inputs of a convolution: (N, C, L..., r...)."""
    module = cast(Any, site.module)
    if inputs.dim() == 1 + site.spatial:  # a single sample
        inputs = inputs.unsqueeze(0)
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    windows = functional.pad(inputs, module._reversed_padding_repeated_twice, mode=mode)
    for dim, (size, stride, dilation) in enumerate(
        zip(module.kernel_size, module.stride, module.dilation, strict=True), 2
    ):
        windows = windows.unfold(dim, dilation * (size - 1) + 1, stride)[..., ::dilation]
    return windows
