"""Stain slices from grey values to bytes without leaving the device: the same code for a GPU and a CPU.

Grey values are uploaded in the type in which they are stored. Normalisation, slice context, noise, network, blending,
rounding and the order of axes are computed on the device. Each batch of slices is copied to the host once, as uint8,
while the network computes the next one.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tomostain.errors import ComputationWarning, InputError, warn_user
from tomostain.imaging.intensity import IntensityReference
from tomostain.networks.build import size_step
from tomostain.stain.config import StainConfig
from tomostain.stain.fusion import fuse_tensors
from tomostain.stain.pass_size import PassSize, batch_end, pass_size
from tomostain.stain.pending import PendingSlices
from tomostain.stain.pixels import normalise, to_bytes
from tomostain.stain.precision_check import TILES, Deviation, PrecisionComparison, measure_deviation
from tomostain.stain.transfer import Transfer, Uploaded
from tomostain.stain.translator import Translator
from tomostain.tiling.blend import blend_images
from tomostain.tiling.exact import halo_of, tile_images
from tomostain.tiling.noise import SlicePosition, add_noise_channels

RGB = NDArray[np.uint8]
_log = logging.getLogger(__name__)


class SliceStainer:
    """Stains slices with one model and one configuration.

    Parameters
    ----------
    translator : Translator
        With the statistics of the volume, if the configuration says so.
    config : StainConfig
        Resolved for the model.
    reference : IntensityReference, optional
        Grey values of background and bone. None: the grey values are normalised already.
    source : str
        Named in messages.
    compares_precisions : bool
        Compare the first slices with float32, if the translator is in half precision. The difference is logged when it
        is known, at the latest by `report_precision`.
    planar : bool
        The memory of the colours (n, Y, X, 3) has the channels before the rows, as OME-Zarr stores them. By default
        they are last.

    Notes
    -----
    How many slices go through the network at once is found from the free memory of a GPU (`pass_size`), and halved
    when it does not suffice. The result does not depend on it up to rounding.
    """

    def __init__(
        self,
        translator: Translator,
        config: StainConfig,
        reference: IntensityReference | None = None,
        source: str = "µCT",
        *,
        compares_precisions: bool = False,
        planar: bool = False,
    ) -> None:
        self.translator, self.config, self.reference, self.source = translator, config, reference, source
        # That of the weights has a number, so that all threads use the same GPU.
        device = next((value.device for value in translator.network.parameters()), translator.device)
        self.transfer = Transfer(device, planar=planar)
        self.size: PassSize | None = None
        self._compares = compares_precisions and translator.in_float32 is not None
        self._comparison: PrecisionComparison | None = None
        self._has_warned = False

    def upload(self, values: NDArray[np.generic], slices: int | None = None) -> Uploaded:
        """Begin to copy grey values to the device; see `Transfer.upload`."""
        return self.transfer.upload(values, slices)

    def begin(
        self,
        grey: Uploaded,
        positions: Sequence[SlicePosition],
        report: Callable[[int], None] | None = None,
    ) -> "PendingColours":
        """Begin to stain slices; on a GPU this returns before they are stained.

        Parameters
        ----------
        grey : Uploaded
            Grey values (n + ct_slices - 1, Y, X): the slices, and the neighbours that the model sees. If they have
            colours along other axes, the result is fused.
        positions : sequence of SlicePosition
            Of the n slices.
        report : callable, optional
            Called with the number of slices after each batch.

        Returns
        -------
        PendingColours

        Raises
        ------
        InputError
            If the memory of the GPU does not suffice for the smallest batch.
        """
        grey.wait()
        with self.transfer.active():
            pending = self._begin(self.translator, grey, positions, report)
            self.compare_precisions(grey, positions)
            return pending

    def compare_precisions(self, grey: Uploaded, positions: Sequence[SlicePosition]) -> None:
        """Begin to compare the first slices with float32 in another thread, or report the result once it is known.

        Call this after the slices are begun, so that the GPU has work while the float32 form is built.
        """
        if self._compares:
            self._compares = False
            self._comparison = PrecisionComparison(partial(self._compare, grey, positions))
        elif self._comparison is not None and self._comparison.done:
            self.report_precision()

    def _compare(self, grey: Uploaded, positions: Sequence[SlicePosition]) -> Deviation | None:
        with self.transfer.active():
            grey.wait()
            try:
                images = self._images(self.translator, grey, positions, 0, min(TILES, len(positions)))
                return measure_deviation(self.translator, images)
            except torch.cuda.OutOfMemoryError:
                _log.info("%s: too little memory to compare the precision with float32", self.source)
                return None

    def report_precision(self) -> None:
        """Report the comparison with float32, once. It is waited for; call this after the last slices."""
        comparison, self._comparison = self._comparison, None
        if comparison is not None:
            comparison.report()

    def _begin(
        self,
        translator: Translator,
        grey: Uploaded,
        positions: Sequence[SlicePosition],
        report: Callable[[int], None] | None = None,
    ) -> "PendingColours":
        count, (rows, columns) = len(positions), grey.shape[1:]
        target = grey.take_target()
        if target is None:
            target = self.transfer.colours((count, rows, columns))
        pending = PendingColours(self, translator, grey, positions, target)
        pending.wrong = self.transfer.host((count,), torch.int64)
        wrong: list[Tensor] = []
        for first, last, batch in self._batches(grey, positions):
            colours, bad = batch
            pending.copied = self.transfer.download(colours, pending.colours[first:last])
            wrong.append(bad)
            if report is not None:
                report(last)
        pending.copied = self.transfer.download(torch.cat(wrong), pending.wrong)
        return pending

    def _batches(
        self, grey: Uploaded, positions: Sequence[SlicePosition]
    ) -> Iterator[tuple[int, int, tuple[Tensor, Tensor]]]:
        """Yield first and last slice of each batch, with its colours (n, Y, X, 3) and counts of wrong values (n,)."""
        first, count = 0, len(positions)
        while first < count:
            last = batch_end(first, count, self.size_for(grey, count).slices)
            batch = self.try_batch(grey, positions, first, last)
            if batch is not None:
                yield first, last, batch
                first = last
                continue
            self.halve()

    def size_for(self, grey: Uploaded, count: int) -> PassSize:
        """Return how much of some slices goes through the network at once; chosen at the first call."""
        if self.size is None:
            self.size = pass_size(self.translator, self.config, (grey.shape[1], grey.shape[2]), count)
        return self.size

    def try_batch(
        self, grey: Uploaded, positions: Sequence[SlicePosition], first: int, last: int
    ) -> tuple[Tensor, Tensor] | None:
        """Stain some of the slices on the device.

        Parameters
        ----------
        grey, positions
            As for `begin`.
        first, last : int
            Of the slices, half-open.

        Returns
        -------
        colours : Tensor of uint8, shape (last - first, Y, X, 3)
        wrong : Tensor of int64, shape (last - first,)
            Number of values of each slice that are no colours.
            None instead of both if the memory of the GPU does not suffice; call `halve`.
        """
        translator, size = self.translator, self.size_for(grey, len(positions))
        try:
            drawn = self._drawn(translator, self._images(translator, grey, positions, first, last), size)
            colours, wrong = to_bytes(drawn, planar=self.transfer.planar)
            if grey.others:
                others = [each.values[first:last] for each in grey.others]
                colours = fuse_tensors([colours, *others], self.config.fuse)
            return colours, wrong
        except torch.cuda.OutOfMemoryError:
            return None

    def halve(self) -> None:
        """Let half as much go through the network at once, or raise `InputError` if that is not possible."""
        translator, size = self.translator, self.size
        smaller = None if size is None else size.halved()
        if translator.runner is not None:
            translator.runner.forget()
        if self.transfer.is_gpu:
            torch.cuda.empty_cache()
        if smaller is None:
            raise InputError(
                f"{self.source}: out of memory on {translator.device} with the smallest batch; give a smaller "
                "`patch_px`, or `batch` 1, or set `device=cpu`",
                parameter="patch_px",
            )
        _log.info("%s: out of memory on %s with %s; continued with %s", self.source, translator.device, size, smaller)
        self.size = smaller

    def alone(self) -> "SliceStainer":
        """Return a stainer of single slices for another thread: it has its own batch size and no CUDA graphs."""
        return type(self)(replace(self.translator, runner=None), self.config, self.reference, self.source)

    def _images(
        self, translator: Translator, grey: Uploaded, positions: Sequence[SlicePosition], first: int, last: int
    ) -> Tensor:
        """Return slices as the model sees them: normalised, with their neighbours and noise."""
        number = translator.spec.ct_slices
        # A volume may hold more neighbours than this model sees.
        margin = (len(grey) - len(positions) - number + 1) // 2
        values = grey.floats(margin + first, margin + last + number - 1)
        if self.reference is not None:
            values = normalise(values, self.reference)
        images = values if number == 1 else values.unfold(0, number, 1).movedim(-1, 1)
        return add_noise_channels(images, translator.spec.noise, positions[first:last])

    def _drawn(self, translator: Translator, images: Tensor, size: PassSize) -> Tensor:
        config = self.config
        if config.blend != "exact":
            options = config.blending() | {"batch": size.patches}
            return blend_images(translator, images, **options)
        generator = translator.spec.generator
        halo = halo_of(generator, translator.has_volume_statistics)
        return tile_images(translator, images, size.tile_px, halo, size_step(generator))

    def finish(self, pending: "PendingColours") -> None:
        """Stain slices that are not finite in half precision again in float32, or raise."""
        for index in np.flatnonzero(pending.wrong.numpy()).tolist():
            position, translator = pending.positions[index], pending.translator
            where = f"slice {position.origin[position.axis]} along {'zyx'[position.axis]}"
            if translator.may_fall_back and translator.in_float32 is not None:
                self._say(f"{where} is not finite in {translator.precision} and is stained in float32")
                pending.colours[index] = self._in_float32(pending, index)
                continue
            bad, values = int(pending.wrong[index]), pending.colours[index].numel()
            way_out = (
                "the weights of the model are broken, so use another model"
                if translator.precision == "float32"
                else "the reduced precision overflows or the weights of the model are broken: set `precision=float32`"
            )
            raise InputError(
                f"{where}: output of the network: {bad} of {values} values are not finite numbers; {way_out}",
                parameter="model",
            )

    def _say(self, text: str) -> None:
        """Warn of the first slice that is not finite, and log all of them."""
        _log.info("%s: %s", self.source, text)
        if not self._has_warned:
            self._has_warned = True
            warn_user(f"{self.source}: {text}; the log names others", ComputationWarning)

    def _in_float32(self, pending: "PendingColours", index: int) -> Tensor:
        """Return a slice (Y, X, 3) that is stained in float32."""
        assert pending.translator.in_float32 is not None
        assert pending.grey is not None
        wide = type(self)(pending.translator.in_float32(), self.config, self.reference, self.source)
        part = pending.grey.around(index, len(pending.positions))
        return torch.from_numpy(wide.begin(part, [pending.positions[index]]).result())[0]


@dataclass(eq=False)
class PendingColours(PendingSlices):
    """Slices that are being stained.

    Attributes
    ----------
    stainer : SliceStainer
    translator : Translator
    grey : Uploaded or None
        Their grey values; None after `result`.
    positions : sequence of SlicePosition
    colours : Tensor of uint8, shape (n, Y, X, 3)
        On the host; complete after `copied`.
    wrong : Tensor of int64, shape (n,)
        Number of values of each slice that are no colours.
    copied : torch.cuda.Event or None
        Of the last copy.
    """

    stainer: SliceStainer
    translator: Translator
    grey: Uploaded | None
    positions: Sequence[SlicePosition]
    colours: Tensor
    wrong: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    copied: torch.cuda.Event | None = None

    def result(self) -> RGB:
        """Wait for the colours; uint8, shape (n, Y, X, 3). May be called in another thread.

        Raises
        ------
        InputError
            If the output of the network is not finite, in float32 too if the precision was chosen automatically.
        """
        self.complete()
        return self.colours.numpy()

    def _finish(self) -> None:
        self.stainer.finish(self)
