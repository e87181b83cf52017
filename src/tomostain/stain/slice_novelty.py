"""The novelty of slices that are being stained: on a GPU from the values there, else on the host in other threads."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tomostain.imaging.intensity import IntensityReference, normalise_ct
from tomostain.integers import to_integers
from tomostain.io.parallel import in_parallel
from tomostain.ood.novelty import slices_at_once
from tomostain.ood.tensor_novelty import TensorNovelty
from tomostain.stain.pixels import normalise
from tomostain.stain.transfer import Uploaded
from tomostain.stain.translator import Translator
from tomostain.stain.uncertainty import combined, novelty_of

RGB = NDArray[np.uint8]


class SliceNovelty:
    """Computes the novelty of slices with the same values on a GPU and on the host, up to rounding.

    Parameters
    ----------
    translators : sequence of Translator
        Each with a training reference.
    reference : IntensityReference or None
        As for `SliceStainer`.
    device : torch.device
        Of the grey values. Other devices than CUDA's may have no float64: the host computes.

    Attributes
    ----------
    on_device : TensorNovelty or None
        None: the host computes.
    """

    def __init__(
        self, translators: Sequence[Translator], reference: IntensityReference | None, device: torch.device
    ) -> None:
        self.translators, self.reference = translators, reference
        self.on_device = self.for_device(device) if device.type == "cuda" else None

    def for_device(self, device: torch.device) -> TensorNovelty:
        """Return what computes the novelty from tensors on a device."""
        references = [each.training_reference for each in self.translators]
        return TensorNovelty([each for each in references if each is not None], device)

    def of_batch(self, grey: Uploaded, count: int, first: int, last: int) -> Tensor | None:
        """Return the novelty of some of `count` slices on the device, (n, Y, X), or None if the host computes it."""
        if self.on_device is None:
            return None
        margin = (len(grey) - count) // 2
        values = grey.floats(margin + first, margin + last)
        return self.on_device(values if self.reference is None else normalise(values, self.reference))

    def begin(self, grey: Uploaded, count: int) -> "Future[RGB] | None":
        """Begin to compute the novelty of `count` slices on the host, uint8 (n, Y, X); None if the device does."""
        if grey.on_host is None:
            return None
        margin = (len(grey) - count) // 2
        thread = ThreadPoolExecutor(1, "tomostain-novelty")
        novelty = thread.submit(self._on_host, grey.on_host[margin : margin + count])
        thread.shutdown(wait=False)
        return novelty

    def _on_host(self, slices: NDArray[np.generic]) -> RGB:
        def of_slice(grey: NDArray[np.generic]) -> RGB:
            ct = grey.astype(np.float32) if self.reference is None else normalise_ct(grey, self.reference)
            return to_integers(255 * combined(None, novelty_of(self.translators, ct)), np.uint8, "uncertainty")

        return np.stack(in_parallel(of_slice, slices, at_once=slices_at_once(slices)))
