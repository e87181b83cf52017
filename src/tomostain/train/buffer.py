"""The image buffer: discriminators also see fakes of earlier steps, which stabilises the training."""

from typing import Any

import torch
from torch import Tensor


class ImageBuffer:
    """A pool of generated images (Shrivastava et al. 2017, as used by Zhu et al. 2017).

    Until the pool is full, images are added and returned unchanged. After that each image is, with probability ½,
    exchanged for a random one of the pool.

    Parameters
    ----------
    size : int
        Images in the pool (paper section 2.6.3, after Zhu et al.: 50); 0: images are returned unchanged.
    """

    def __init__(self, size: int = 50) -> None:
        self.size = size
        self.images: list[Tensor] = []

    def exchange(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return a batch of the same shape as `batch` (B, C, H, W), partly of earlier images, without gradients.

        Parameters
        ----------
        batch : Tensor
            New fakes.
        generator : torch.Generator
            Selects the images that are exchanged; on the CPU.
        """
        batch = batch.detach()
        if self.size == 0:
            return batch
        returned = []
        for image in batch:
            if len(self.images) < self.size:
                self.images.append(image.clone())
                returned.append(image)
            elif torch.rand(1, generator=generator).tolist()[0] < 0.5:
                (index,) = torch.randint(self.size, (1,), generator=generator).tolist()
                returned.append(self.images[index])
                self.images[index] = image.clone()
            else:
                returned.append(image)
        return torch.stack(returned)

    def state_dict(self) -> dict[str, Any]:
        """Return the pool as one tensor (N, C, H, W), or None if it is empty."""
        return {"images": torch.stack(self.images).cpu() if self.images else None}

    def load_state_dict(self, state: dict[str, Any], device: torch.device | str = "cpu") -> None:
        """Restore the pool of `state_dict`."""
        images = state["images"]
        self.images = [] if images is None else list(images.to(device).unbind())
