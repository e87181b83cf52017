"""Images resampled at displaced positions, with gradients for the image and the displacement."""

import torch
from torch import Tensor
from torch.nn import functional


def warp_batch(image: Tensor, displacement: Tensor) -> Tensor:
    """Return an image resampled at each pixel's position plus a displacement; beyond the border the edge repeats.

    Parameters
    ----------
    image : Tensor (B, C, H, W)
    displacement : Tensor (B, 2, h, w)
        (row, column), px, on a coarser grid over the same image; linear in between.

    Notes
    -----
    On a GPU torch sums the gradient of the image in no fixed order: two runs with the same seed agree only up to
    rounding. After ``torch.use_deterministic_algorithms(True)``, `sample_bilinear` does it in a fixed order.
    """
    rows, columns = image.shape[2:]
    fine = functional.interpolate(displacement, size=(rows, columns), mode="bilinear", align_corners=False)
    row = torch.arange(rows, device=image.device, dtype=image.dtype)[None, :, None] + fine[:, 0]
    column = torch.arange(columns, device=image.device, dtype=image.dtype)[None, None, :] + fine[:, 1]
    if image.is_cuda and torch.are_deterministic_algorithms_enabled():
        return sample_bilinear(image, row, column)
    # Coordinates of grid_sample: -1 is the centre of the first pixel, 1 that of the last.
    positions = torch.stack([2 * column / max(columns - 1, 1) - 1, 2 * row / max(rows - 1, 1) - 1], dim=-1)
    return functional.grid_sample(image, positions, mode="bilinear", padding_mode="border", align_corners=True)


def sample_bilinear(image: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Return an image at positions, linear between pixels; beyond the border the edge repeats.

    Differs from `torch.nn.functional.grid_sample` by rounding. Its gradient consists of operations that torch can
    compute in a fixed order.

    Parameters
    ----------
    image : Tensor (B, C, H, W)
    row, column : Tensor (B, h, w)
        Positions, px.

    Examples
    --------
    >>> image, position = torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]]]), torch.tensor([[[0.5]]])
    >>> sample_bilinear(image, position, position).item()
    1.5
    """
    rows, columns = image.shape[2:]
    row, column = row.clamp(0, rows - 1), column.clamp(0, columns - 1)
    top, left = row.detach().floor().long(), column.detach().floor().long()
    bottom, right = (top + 1).clamp(max=rows - 1), (left + 1).clamp(max=columns - 1)
    down, across = (row - top)[:, None], (column - left)[:, None]
    flat = image.flatten(2)

    def at(y: Tensor, x: Tensor) -> Tensor:
        index = (y * columns + x).flatten(1)[:, None].expand(-1, image.shape[1], -1)
        return flat.gather(2, index).reshape(*image.shape[:2], *row.shape[1:])

    upper = at(top, left) * (1 - across) + at(top, right) * across
    lower = at(bottom, left) * (1 - across) + at(bottom, right) * across
    return upper * (1 - down) + lower * down
