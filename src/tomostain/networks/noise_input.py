"""Noise channels of a generator's input: added after the µCT, and separated from it."""

import torch
from torch import Tensor


def add_noise(image: Tensor, noise: Tensor | None) -> Tensor:
    """Return an image (B, C, H, W) with noise (B, N, H, W), if there is any, as further channels."""
    return image if noise is None else torch.cat([image, noise.to(image)], dim=1)


def split_noise(images: Tensor, channels: int) -> tuple[Tensor, Tensor | None]:
    """Separate µCT and noise of tiles.

    Parameters
    ----------
    images : Tensor, shape (B, S + channels, H, W), or (B, H, W) or (B, S, H, W) without noise
        As `tomostain.tiling.noise.with_noise` makes them.
    channels : int
        Number of noise channels.

    Returns
    -------
    ct : Tensor, shape (B, H, W) for one slice, else (B, S, H, W)
    noise : Tensor, shape (B, channels, H, W), or None

    Examples
    --------
    >>> ct, noise = split_noise(torch.zeros(2, 4, 8, 8), 3)
    >>> ct.shape, noise.shape
    (torch.Size([2, 8, 8]), torch.Size([2, 3, 8, 8]))
    """
    if not channels:
        return images, None
    ct, noise = images[:, :-channels], images[:, -channels:]
    return (ct[:, 0] if ct.shape[1] == 1 else ct), noise
