"""The image buffer: discriminators also see fakes of earlier steps, which stabilises the training.

An exchange has two parts. The host draws which images are exchanged (`ImageBuffer.plan`). The device moves them
(`ImageBuffer.exchange`), by the same operators each time, so that a CUDA graph can contain them.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Exchange:
    """Which images of a batch of B are exchanged. All tensors have the shape (B,).

    Attributes
    ----------
    from_pool : Tensor of bool
        Return the image at `pool_row` of the pool instead of that at `batch_row` of the batch.
    pool_row, batch_row : Tensor of int64
        The sources. An image of the batch that was stored earlier in the same exchange is in the batch.
    store_row : Tensor of int64
        Row of the pool that the image is stored in. Rows from the size of the pool on are not read.
    """

    from_pool: Tensor
    pool_row: Tensor
    batch_row: Tensor
    store_row: Tensor

    def to(self, device: torch.device) -> "Exchange":
        """Return the same on a device. From pinned memory to a GPU, so that the host does not wait."""
        if device.type == "cpu":
            return self
        together = torch.stack([self.from_pool.long(), self.pool_row, self.batch_row, self.store_row])
        rows = (together.pin_memory() if device.type == "cuda" else together).to(device, non_blocking=True)
        return Exchange(rows[0] > 0, *rows[1:])


class ImageBuffer:
    """A pool of generated images (Shrivastava et al. 2017, as used by Zhu et al. 2017).

    Until the pool is full, images are added and returned unchanged. After that each image is, with probability ½,
    exchanged for a random one of the pool.

    Parameters
    ----------
    size : int
        Images in the pool (paper section 2.6.3, after Zhu et al.: 50); 0: images are returned unchanged.

    Attributes
    ----------
    count : int
        Number of images that the pool holds.
    """

    def __init__(self, size: int = 50) -> None:
        self.size = size
        self.count = 0
        # (N, C, H, W): the images of the pool, and one row for each image of a batch that is not stored.
        self._pool: Tensor | None = None

    @property
    def images(self) -> list[Tensor]:
        """The images of the pool, each (C, H, W)."""
        return [] if self._pool is None else list(self._pool[: self.count])

    def plan(self, number: int, generator: torch.Generator) -> Exchange:
        """Draw the exchange of a batch.

        Parameters
        ----------
        number : int
            Images of the batch.
        generator : torch.Generator
            Selects the images that are exchanged; on the CPU.
        """
        from_pool, pool_row, batch_row = [False] * number, [0] * number, list(range(number))
        store_row = [self.size + image for image in range(number)]
        stored: dict[int, int] = {}  # row of the pool: image of the batch
        for image in range(number if self.size else 0):
            if self.count < self.size:
                row, self.count = self.count, self.count + 1
            elif torch.rand(1, generator=generator).tolist()[0] < 0.5:
                (row,) = torch.randint(self.size, (1,), generator=generator).tolist()
                if row in stored:
                    batch_row[image] = stored[row]
                    store_row[stored[row]] = self.size + stored[row]  # it is overwritten
                else:
                    from_pool[image], pool_row[image] = True, row
            else:
                continue
            store_row[image], stored[row] = row, image
        return Exchange(*map(torch.tensor, (from_pool, pool_row, batch_row, store_row)))

    def exchange(self, batch: Tensor, plan: Exchange) -> Tensor:
        """Return a batch of the same shape as `batch` (B, C, H, W), partly of earlier images, without gradients.

        Parameters
        ----------
        batch : Tensor
            New fakes.
        plan : Exchange
            Of `plan`, on the device of the batch.
        """
        batch = batch.detach()
        if self.size == 0:
            return batch
        pool = self._allocated(batch)
        earlier, new = pool.index_select(0, plan.pool_row), batch.index_select(0, plan.batch_row)
        returned = torch.where(plan.from_pool[:, None, None, None], earlier, new)
        pool.index_copy_(0, plan.store_row, batch)
        return returned

    def _allocated(self, batch: Tensor) -> Tensor:
        """Return the pool, with memory for batches like this one."""
        rows = self.size + len(batch)
        if self._pool is None or len(self._pool) < rows:
            pool = batch.new_zeros(rows, *batch.shape[1:])
            if self._pool is not None:
                pool[: len(self._pool)] = self._pool
            self._pool = pool
        return self._pool

    def state_dict(self) -> dict[str, Any]:
        """Return the pool as one tensor (N, C, H, W), or None if it is empty."""
        return {"images": torch.stack(self.images).cpu() if self.images else None}

    def load_state_dict(self, state: dict[str, Any], device: torch.device | str = "cpu") -> None:
        """Restore the pool of `state_dict`."""
        images = state["images"]
        self.count = 0 if images is None else len(images)
        self._pool = None if images is None else images.to(device)
