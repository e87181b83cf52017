"""An upright image in grey values or RGB, and what readers make of it: an image, histology, µCT or a mask."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import AmbiguousMaskWarning, InputError, warn_user
from tomostain.io.colour_conversion import full_scale, in_blocks
from tomostain.io.colour_model import ColourModel, Profile
from tomostain.io.colour_profiles import describe_colours, to_srgb


@dataclass(frozen=True)
class Picture:
    """An upright image, grey or RGB, before its samples are scaled to 8 bits.

    Attributes
    ----------
    path : Path
        Named in messages.
    samples : ndarray, shape (rows, columns) or (rows, columns, 3)
        Grey values in the type of the file, or RGB.
    bits : int, optional
        Significant bits of unsigned samples, where the file states them.
    alpha : ndarray, shape (rows, columns), optional
        Opacity, in the type of the file.
    premultiplied : bool
        The colours are multiplied by the opacity already.
    profile : bytes or PngColours, optional
        ICC profile of the colours, or what a PNG states; they are converted to sRGB by `rgb`.
    inverted : bool
        The file has one bit, with white as 0.
    model : ColourModel, optional
        What the file states of the samples.
    """

    path: Path
    samples: NDArray[Any]
    bits: int | None = None
    alpha: NDArray[Any] | None = None
    premultiplied: bool = False
    profile: Profile | None = field(default=None, repr=False)
    inverted: bool = False
    model: ColourModel | None = field(default=None, repr=False)

    @property
    def colours(self) -> dict[str, str]:
        """Which colour profile the file states (``profile``), and what `rgb` does with it (``conversion``)."""
        return describe_colours(self.model or ColourModel("grey" if self.samples.ndim == 2 else "rgb"))

    def image(self) -> NDArray[Any]:
        """Return grey values as stored, or 8-bit RGB (grey with transparency too)."""
        return self._number() if self.samples.ndim == 2 and self.alpha is None else self.rgb()

    def rgb(self) -> NDArray[np.uint8]:
        """Return 8-bit sRGB: grey repeated, more bits scaled to 8, transparency composed on white.

        Colours of another profile are converted, with a `ColourProfileWarning`.

        Raises
        ------
        InputError
            If the samples are signed or not integers, or use only a part of their bits and the file does not say how
            many are significant.
        """
        colours = self.to_8_bits(self.samples if self.samples.ndim == 3 else self.samples[..., None])
        if self.alpha is not None:
            opacity = self.to_8_bits(self.alpha[..., None])
            colours = in_blocks(self._composed, colours, opacity)
        if self.samples.ndim == 3:
            colours = to_srgb(colours, self.profile, self.path)
        return np.ascontiguousarray(np.broadcast_to(colours, (*colours.shape[:2], 3)))

    def grey(self) -> NDArray[Any]:
        """Return grey values as stored. Three equal channels count as grey.

        Raises
        ------
        InputError
            If the image is in colour or partly transparent.
        """
        samples = self.samples
        if samples.ndim == 3:
            if not (samples[..., :1] == samples).all():
                raise InputError(
                    f"{self.path}: shape {samples.shape} is a colour image; the µCT must be a greyscale image"
                )
            samples = np.ascontiguousarray(samples[..., 0])
        if not self._opaque():
            raise InputError(
                f"{self.path}: is partly transparent, which grey values cannot be; save it without alpha channel"
            )
        return Picture(self.path, samples, self.bits)._number()

    def mask(self) -> NDArray[np.bool_]:
        """Return where the image is not 0 (not black).

        Raises
        ------
        InputError
            If it is partly transparent, has values that are not finite, or several values and none of them is 0.

        Warns
        -----
        AmbiguousMaskWarning
            If it was stored with white as 0 in one bit, and is inverted.
        """
        if not self._opaque():
            raise InputError(
                f"{self.path}: a mask that is partly transparent is ambiguous; save it without alpha channel, with 0 "
                "where it is empty"
            )
        if self.samples.dtype.kind == "f" and not np.isfinite(self.samples).all():
            raise InputError(f"{self.path}: a mask with values that are not finite; save it with 0 where it is empty")
        is_grey = self.samples.ndim == 2
        marked = np.asarray(self.samples != 0 if is_grey else (self.samples != 0).any(axis=2))
        if marked.size and marked.all() and (self.samples != self.samples[:1, :1]).any():
            values = f"values from {self.samples.min()} to {self.samples.max()}" if is_grey else "several colours"
            raise InputError(
                f"{self.path}: the mask would mark every pixel, although it has {values}; save it with 0 (black) where "
                "it is empty"
            )
        if self.inverted:
            warn_user(
                f"{self.path}: states that white is 0, in one bit, and is inverted ({marked.mean():.0%} is marked); if "
                "tifffile wrote it from a boolean array, save it as uint8 (mask * 255)",
                AmbiguousMaskWarning,
            )
        return marked

    def _number(self) -> NDArray[Any]:
        """Convert grey values to uint8, uint16 or float32."""
        if self.samples.dtype.kind == "b":
            return self.samples.astype(np.uint8) * np.uint8(255)
        return np.asarray(self.samples, grey_dtype(self.samples.dtype.kind, self.samples.dtype.itemsize, self.path))

    def _opaque(self) -> bool:
        return self.alpha is None or bool((self.alpha == full_scale(self.alpha.dtype, self.bits)).all())

    def _composed(self, colours: NDArray[np.uint8], opacity: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Compose 8-bit colours on white."""
        alpha = opacity.astype(np.uint16)
        if self.premultiplied:
            return np.minimum(colours + (255 - alpha), 255).astype(np.uint8)
        return ((colours * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)

    def to_8_bits(self, samples: NDArray[Any]) -> NDArray[np.uint8]:
        """Scale unsigned samples to 8 bits by their significant bits."""
        if samples.dtype == np.uint8 and self.bits in (None, 8):
            return samples
        if samples.dtype.kind not in "bu":
            raise InputError(
                f"{self.path}: colours of type {samples.dtype} are not 8 or 16 bits; save the image as 8-bit RGB"
            )
        full, largest = full_scale(samples.dtype, self.bits), int(samples.max(initial=0))
        if largest > full:
            raise InputError(
                f"{self.path}: states {self.bits} significant bits, but has the value {largest}; save it as 8-bit RGB"
            )
        # Many programs write 16 as the significant bits whatever the camera has.
        whole_type = self.bits in (None, 8 * samples.dtype.itemsize)
        if whole_type and samples.dtype.itemsize > 1 and 0 < largest <= full // 4:
            raise InputError(
                f"{self.path}: its colours use {largest.bit_length()} of {8 * samples.dtype.itemsize} bits (maximum "
                f"{largest}), and the file does not say how many are significant; save it as 8-bit RGB"
            )
        if self.bits is not None and 8 < self.bits < 8 * samples.dtype.itemsize:
            # The top 8 bits: exact for 8-bit values that were shifted up, and for those that were scaled up.
            shift = self.bits - 8
            return in_blocks(lambda block: (block >> shift).astype(np.uint8), samples)

        def scaled(block: NDArray[Any]) -> NDArray[np.uint8]:
            return ((block.astype(np.uint64) * 255 + full // 2) // full).astype(np.uint8)

        if samples.dtype.itemsize > 2 or samples.dtype.kind == "b":
            return in_blocks(scaled, samples)
        table = scaled(np.arange(full + 1))
        return in_blocks(lambda block: table[block], samples)


def grey_dtype(kind: str, size: int, path: Path) -> np.dtype[Any]:
    """Return the type to which grey values of a NumPy kind and item size are converted: uint8, uint16 or float32.

    Raises
    ------
    InputError
        If they are not real numbers.
    """
    if kind not in "biuf":
        raise InputError(
            f"{path}: values of NumPy kind '{kind}' are not grey values; convert them to uint16 or float32"
        )
    if kind in "bu" and size <= 2:
        return np.dtype(np.uint8 if size == 1 else np.uint16)
    return np.dtype(np.float32)
