"""Slices that are being stained: how their result is waited for."""

from abc import ABC, abstractmethod

import torch

from tomostain.stain.transfer import Uploaded


class PendingSlices(ABC):
    """Slices that are being stained on a device.

    Attributes
    ----------
    grey : Uploaded or None
        Their grey values; None after `complete`, so that their memory on the GPU is free while the result is written.
    copied : torch.cuda.Event or None
        Of the last copy.
    """

    grey: Uploaded | None
    copied: torch.cuda.Event | None

    def complete(self) -> None:
        """Wait for the last copy, and finish the slices once. May be called in another thread."""
        if self.copied is not None:
            self.copied.synchronize()
        if self.grey is not None:
            self._finish()
            self.grey = None

    @abstractmethod
    def _finish(self) -> None:
        """Check the result, which was copied to the host, and complete it."""
