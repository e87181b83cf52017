"""Stain slices and compute their uncertainty without leaving the device: the same code for a GPU and a CPU.

The grey values are uploaded once. The networks of all models and seeds, their blending and rounding, the standard
deviation and the cycle error are computed on the device, for a batch of slices at a time. Each batch is copied to the
host twice, as uint8: its colours, and its map. On a GPU the novelty is a part of that map. Elsewhere SciPy computes it
on the host, from the same grey values and in other threads (`SliceNovelty`).
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tomostain.deprecation import renamed
from tomostain.imaging.intensity import IntensityReference
from tomostain.stain.comparison_memory import slices_compared
from tomostain.stain.config import StainConfig
from tomostain.stain.noise import following_seeds
from tomostain.stain.pass_size import PassSize, batch_end
from tomostain.stain.pending import PendingSlices
from tomostain.stain.pixels import mean_deviation, to_bytes
from tomostain.stain.slice_novelty import SliceNovelty
from tomostain.stain.slice_stainer import SliceStainer
from tomostain.stain.transfer import Uploaded
from tomostain.stain.translator import Translator
from tomostain.stain.uncertainty import CYCLE, NOVELTY, combined, patch_error, spread_factor
from tomostain.stain.uncertainty_map import kind_of
from tomostain.tiling.blend import blend_images
from tomostain.tiling.noise import SlicePosition

RGB = NDArray[np.uint8]
Run = tuple[SliceStainer, Sequence[SlicePosition]]
Batch = tuple[Tensor, Tensor | None, Tensor]


class CycleErrorStainer(SliceStainer):
    """Makes a grey picture of the cycle error of slices (`tomostain.stain.uncertainty.cycle_error`): white is 1.

    Parameters are those of `SliceStainer`, but `blend` of the configuration is "mean" or "hann".
    """

    def _drawn(self, translator: Translator, images: Tensor, size: PassSize) -> Tensor:
        options = self.config.blending() | {"batch": size.patches}
        error = blend_images(patch_error(translator), images, **options)
        # Infinity becomes NaN and is counted, instead of white.
        return (255 * (error.clip(0.0, 1.0) + (error - error))).expand(-1, 3, -1, -1)


class UncertaintyStainer:
    """Stains slices with the first of some models, and computes how uncertain the colours are.

    Parameters
    ----------
    translators : sequence of Translator
        Of `tomostain.stain.uncertainty_map.load_ensemble`, with the statistics of the volume, if the configuration
        says so.
    config, reference, source
        As for `SliceStainer`.
    noise_samples : int
        Number of seeds of the first translator that are compared.
    compares_precisions, planar : bool
        As for `SliceStainer`.

    Notes
    -----
    The values are those of `tomostain.stain.uncertainty_map.uncertainty_map` for each slice.
    """

    def __init__(
        self,
        translators: Sequence[Translator],
        config: StainConfig,
        reference: IntensityReference | None = None,
        source: str = "µCT",
        *,
        noise_samples: int = 1,
        compares_precisions: bool = False,
        planar: bool = False,
    ) -> None:
        self.translators, self.noise_samples = tuple(translators), noise_samples
        self.stainers = [
            SliceStainer(
                each,
                config,
                reference,
                source,
                compares_precisions=compares_precisions and each is translators[0],
                planar=planar,
            )
            for each in translators
        ]
        kind = kind_of(translators, noise_samples)
        if kind == CYCLE:
            # Patches of the size of a tile, side by side.
            patches = config.model_copy(update={"blend": "mean"}) if config.blend == "exact" else config
            about = f"{source}: uncertainty"
            self.stainers.append(CycleErrorStainer(translators[0], patches, reference, about, planar=planar))
        self._alone = [each.alone() for each in self.stainers]
        self.has_cycle_error = kind == CYCLE
        self.transfer = self.stainers[0].transfer
        self.novelty = None
        if NOVELTY in kind:
            self.novelty = SliceNovelty(translators, reference, self.transfer.device, source)

    def upload(self, values: NDArray[np.generic], slices: int | None = None) -> Uploaded:
        """Begin to copy grey values to the device; see `Transfer.upload`."""
        uploaded = self.transfer.upload(values, None if slices is None else 2 * slices)
        uploaded.on_host = values if self.novelty is not None and self.novelty.on_device is None else None
        return uploaded

    def begin(
        self,
        grey: Uploaded,
        positions: Sequence[SlicePosition],
        report: Callable[[int], None] | None = None,
    ) -> "PendingUncertainty":
        """Begin to stain slices; on a GPU this returns before they are stained.

        Parameters
        ----------
        grey : Uploaded
            Of `upload`: the n slices, and the neighbours that the models see.
        positions : sequence of SlicePosition
            Of the n slices. They are stained with the seeds of these.
        report : callable, optional
            Called with the number of slices after each batch.

        Returns
        -------
        PendingUncertainty

        Raises
        ------
        InputError
            If the memory of the GPU does not suffice for the smallest batch.
        """
        grey.wait()
        with self.transfer.active():
            target = grey.take_target()
            if target is None:
                target = self.transfer.colours((2 * len(positions), *grey.shape[1:]))
            runs = self._runs(positions)
            counts = len(runs) + (self.novelty is not None and self.novelty.on_device is not None)
            wrong_on_host = self.transfer.host((counts, len(positions)), torch.int64)
            novelty = None if self.novelty is None else self.novelty.begin(grey, positions)
            pending = PendingUncertainty(self, grey, runs, target, wrong_on_host, novelty)
            wrong: list[Tensor] = []
            for first, last, (colours, uncertainty, bad) in self._batches(grey, runs):
                self.transfer.download(colours, pending.colours[first:last])
                if uncertainty is not None:
                    self.transfer.download(uncertainty, pending.uncertainty[first:last])
                wrong.append(bad)
                if report is not None:
                    report(last)
            pending.copied = self.transfer.download(torch.cat(wrong, dim=1), pending.wrong)
            self.stainers[0].compare_precisions(grey, positions)
            return pending

    def report_precision(self) -> None:
        """Report how far the first model is from float32; see `SliceStainer.report_precision`."""
        self.stainers[0].report_precision()

    def _runs(self, positions: Sequence[SlicePosition]) -> list[Run]:
        """Return what is stained: each model with the seed, then the first model with the seeds after it."""
        seeds = following_seeds(positions[0].seed, self.noise_samples - 1)
        others = [(self.stainers[0], [replace(each, seed=seed) for each in positions]) for seed in seeds]
        return [*((stainer, positions) for stainer in self.stainers), *others]

    def _batches(self, grey: Uploaded, runs: Sequence[Run]) -> Iterator[tuple[int, int, Batch]]:
        """Yield first and last slice of each batch, with its colours, map and counts of wrong values."""
        first, count = 0, len(runs[0][1])
        largest = slices_compared(count, grey.shape[1] * grey.shape[2])
        while first < count:
            slices = min(stainer.size_for(grey, count).slices for stainer in self.stainers)
            last = batch_end(first, count, min(slices, largest))
            batch = self._try_batch(grey, runs, first, last)
            if isinstance(batch, SliceStainer):
                batch.halve()
                continue
            yield first, last, batch
            first = last

    def _try_batch(self, grey: Uploaded, runs: Sequence[Run], first: int, last: int) -> Batch | SliceStainer:
        """Return colours, map and counts of wrong values, or what is to be halved because the memory does not suffice.

        The counts have the shape (runs, slices), with a row for the novelty if it is computed on the device.
        """
        images, wrong = [], []
        for stainer, positions in runs:
            batch = stainer.try_batch(grey, positions, first, last)
            if batch is None:
                return stainer
            images.append(batch[0])
            wrong.append(batch[1])
        try:
            novelty = self._novelty(grey, len(runs[0][1]), first, last)
            uncertainty, bad = self._map(images, novelty)
            return images[0], uncertainty, torch.stack(wrong if novelty is None else [*wrong, bad])
        except torch.cuda.OutOfMemoryError:
            return max(self.stainers, key=lambda each: 0 if each.size is None else each.size.slices)

    def _novelty(self, grey: Uploaded, count: int, first: int, last: int) -> Tensor | None:
        """Return the novelty of some of `count` slices if it is computed on the device."""
        return None if self.novelty is None else self.novelty.of_batch(grey, count, first, last)

    def _map(self, images: Sequence[Tensor], novelty: Tensor | None) -> tuple[Tensor | None, Tensor]:
        """Return the uncertainty of slices, uint8 (n, Y, X, 3), and the number of values that are not finite, (n,).

        If the host computes the novelty, it is included later: it is a part of the maximum, and rounding keeps the
        order of values. The uncertainty is None if there is no other part.
        """
        none_wrong = images[0].new_zeros(len(images[0]), dtype=torch.int64)
        if self.has_cycle_error:
            return images[-1], none_wrong
        if len(images) == 1 and novelty is None:
            return None, none_wrong
        models, seeds = images[: len(self.translators)], [images[0], *images[len(self.translators) :]]
        uncertainty = combined(
            mean_deviation(models) if len(models) > 1 else None,
            novelty,
            mean_deviation(seeds) * float(spread_factor(len(seeds))) if len(seeds) > 1 else None,
        )
        return to_bytes((255 * uncertainty)[:, None].expand(-1, 3, -1, -1), planar=self.transfer.planar)

    def finish(self, pending: "PendingUncertainty") -> None:
        """Stain slices that are not finite in half precision again in float32, or raise; include the novelty."""
        assert pending.grey is not None
        wrong, runs = pending.wrong.numpy(), len(pending.runs)
        for index in np.flatnonzero(wrong[:runs].any(axis=0)).tolist():
            grey = pending.grey.around(index, len(pending.colours))
            images = [
                # Each in float32 if it is not finite. Other threads use `stainers` at the same time.
                torch.from_numpy(self._alone[self.stainers.index(stainer)].begin(grey, [positions[index]]).result())
                for stainer, positions in pending.runs
            ]
            pending.colours[index] = images[0][0]
            novelty = None if self.novelty is None else self.novelty.of_slice(grey, pending.runs[0][1][index])
            uncertainty, _ = self._map(images, novelty)
            if uncertainty is not None:
                pending.uncertainty[index] = uncertainty[0]
        if self.novelty is not None:
            for index in np.flatnonzero(wrong[runs:].any(axis=0)).tolist():
                bad, values = int(wrong[runs, index]) // 3, pending.colours[index, ..., 0].numel()
                raise self.novelty.not_finite(pending.runs[0][1][index], bad, values)
        if pending.novelty is not None:
            on_host, bytes_of_novelty = pending.uncertainty.numpy(), pending.novelty.result()[..., None]
            if runs == 1:
                np.copyto(on_host, bytes_of_novelty)
            else:
                np.maximum(on_host, bytes_of_novelty, out=on_host)


@dataclass(eq=False)
class PendingUncertainty(PendingSlices):
    """Slices that are being stained, with their uncertainty.

    Attributes
    ----------
    stainer : UncertaintyStainer
    grey : Uploaded or None
        Their grey values; None after `result`.
    runs : sequence of (SliceStainer, sequence of SlicePosition)
        What is stained.
    target : Tensor of uint8, shape (2 · n, Y, X, 3)
        On the host: colours, then the uncertainty; complete after `copied`.
    wrong : Tensor of int64, shape (runs, n)
        Number of values of each slice that are not finite; another row for a novelty that the device computes.
    novelty : Future or None
        Of the bytes of the novelty, shape (n, Y, X), if the host computes it.
    copied : torch.cuda.Event or None
        Of the last copy.
    """

    stainer: UncertaintyStainer
    grey: Uploaded | None
    runs: Sequence[Run]
    target: Tensor
    wrong: Tensor
    novelty: "Future[RGB] | None" = None
    copied: torch.cuda.Event | None = None

    @property
    def colours(self) -> Tensor:
        """The colours, shape (n, Y, X, 3)."""
        return self.target[: len(self.target) // 2]

    @property
    def uncertainty(self) -> Tensor:
        """The uncertainty, grey, shape (n, Y, X, 3)."""
        return self.target[len(self.target) // 2 :]

    def result(self) -> RGB:
        """Wait for colours and uncertainty; uint8, shape (2, n, Y, X, 3). May be called in another thread.

        Raises
        ------
        InputError
            If the output of a network is not finite, in float32 too if the precision was chosen automatically.
        """
        self.complete()
        return self.target.numpy().reshape(2, len(self.colours), *self.target.shape[1:])

    def _finish(self) -> None:
        self.stainer.finish(self)
        self.novelty = None


__getattr__ = renamed(__name__, {"comparison_bytes": "tomostain.stain.comparison_memory:comparison_bytes"})
