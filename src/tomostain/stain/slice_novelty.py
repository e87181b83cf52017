"""The novelty of slices that are being stained: on a GPU from the values there, else on the host in other threads."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tomostain.errors import InputError
from tomostain.imaging.intensity import IntensityReference, normalise_ct
from tomostain.integers import to_integers
from tomostain.io.parallel import in_parallel
from tomostain.ood.novelty import slices_at_once
from tomostain.ood.tensor_novelty import TensorNovelty
from tomostain.stain.pixels import normalise
from tomostain.stain.transfer import Uploaded
from tomostain.stain.translator import Translator
from tomostain.stain.uncertainty import combined, novelty_of
from tomostain.tiling.noise import SlicePosition

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
        Of the grey values. On a CPU, SciPy computes the novelty in other threads.
    source : str
        Named in messages.

    Attributes
    ----------
    on_device : TensorNovelty or None
        None: the host computes.
    """

    def __init__(
        self,
        translators: Sequence[Translator],
        reference: IntensityReference | None,
        device: torch.device,
        source: str = "µCT",
    ) -> None:
        self.translators, self.reference, self.source = translators, reference, source
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

    def of_slice(self, grey: Uploaded, position: SlicePosition) -> Tensor | None:
        """Return the novelty of a single slice as `of_batch`, but on the host; the caller waits for it.

        Raises
        ------
        InputError
            If the memory of the GPU does not suffice, after the memory that torch holds for later use was freed.
        """
        for _ in range(2):
            try:
                novelty = self.of_batch(grey, 1, 0, 1)
                return None if novelty is None else novelty.cpu()
            except torch.cuda.OutOfMemoryError:
                torch.cuda.empty_cache()
        raise InputError(
            f"{self.source}: out of memory on the GPU while the uncertainty of slice {_where(position)} is computed "
            "again in float32; give a smaller `z_chunk`, or set `device=cpu`",
            parameter="z_chunk",
        )

    def not_finite(self, position: SlicePosition, bad: int, values: int) -> InputError:
        """Return the error of a slice whose novelty is not finite."""
        return InputError(
            f"{self.source}: uncertainty of slice {_where(position)}: novelty: {bad} of {values} values are not finite "
            "numbers; the grey values are not finite, or the training reference of the model is damaged: leave out "
            "`uncertainty`, or use another model",
            parameter="uncertainty",
        )

    def begin(self, grey: Uploaded, positions: Sequence[SlicePosition]) -> "Future[RGB] | None":
        """Begin to compute the novelty of slices on the host, uint8 (n, Y, X); None if the device does."""
        if grey.on_host is None:
            return None
        margin = (len(grey) - len(positions)) // 2
        slices = grey.on_host[margin : margin + len(positions)]
        thread = ThreadPoolExecutor(1, "tomostain-novelty")
        novelty = thread.submit(self._on_host, slices, positions)
        thread.shutdown(wait=False)
        return novelty

    def _on_host(self, slices: NDArray[np.generic], positions: Sequence[SlicePosition]) -> RGB:
        def of_slice(part: tuple[NDArray[np.generic], SlicePosition]) -> RGB:
            grey, position = part
            ct = grey.astype(np.float32) if self.reference is None else normalise_ct(grey, self.reference)
            novelty = combined(None, novelty_of(self.translators, ct))
            finite = int(np.isfinite(novelty).sum())
            if finite < novelty.size:
                raise self.not_finite(position, novelty.size - finite, novelty.size)
            return to_integers(255 * novelty, np.uint8, "uncertainty")

        parts = list(zip(slices, positions, strict=True))
        return np.stack(in_parallel(of_slice, parts, at_once=slices_at_once(slices)))


def _where(position: SlicePosition) -> str:
    return f"{position.origin[position.axis]} along {'zyx'[position.axis]}"
