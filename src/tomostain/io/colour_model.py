"""What a file states of the samples of an image."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["grey", "palette", "rgb", "ycbcr", "cmyk", "lab"]
D50 = (0.34567, 0.35850)
"""Chromaticity (x, y) of the white of CIELab where a TIFF states none, as in libtiff and Photoshop."""

SRGB_POINTS = ((0.3127, 0.3290), (0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
"""Chromaticities (x, y) of white, red, green and blue of sRGB (IEC 61966-2-1)."""
SRGB_PRIMARIES = tuple(value for point in SRGB_POINTS for value in point)
_SRGB_GAMMA = (0.44, 0.47)
"""A PNG of sRGB states 1/2.2 = 0.45455 (PNG specification, 11.3.3.5)."""


@dataclass(frozen=True)
class PngColours:
    """What a PNG without a profile states of its colours.

    Attributes
    ----------
    gamma : float, optional
        Exponent of the samples, as in the chunk gAMA: 0.45455 for sRGB.
    primaries : tuple of float
        Chromaticities (x, y) of white, red, green and blue, as in the chunk cHRM.
    """

    gamma: float | None
    primaries: tuple[float, ...] = SRGB_PRIMARIES

    @property
    def is_srgb(self) -> bool:
        """Whether the colours are sRGB."""
        is_gamma = self.gamma is None or _SRGB_GAMMA[0] < self.gamma < _SRGB_GAMMA[1]
        return is_gamma and bool(np.allclose(self.primaries, SRGB_PRIMARIES, atol=0.002))


Profile = bytes | PngColours


@dataclass(frozen=True)
class YCbCr:
    """The YCbCr of a TIFF.

    Attributes
    ----------
    luma : tuple of float
        Weights of red, green and blue in Y (tag YCbCrCoefficients); ITU-R BT.601 by default.
    reference : tuple of float, optional
        Codes of black and white of Y, Cb and Cr (tag ReferenceBlackWhite); full range by default.
    """

    luma: tuple[float, float, float] = (0.299, 0.587, 0.114)
    reference: tuple[float, ...] | None = None


@dataclass(frozen=True)
class ColourModel:
    """How a file declares the samples of an image.

    Attributes
    ----------
    kind : {"grey", "palette", "rgb", "ycbcr", "cmyk", "lab"}
    bits : int, optional
        Significant bits of unsigned samples; None where the file states no more than the type.
    white_is_zero : bool
        Grey values whose white is 0.
    alpha : {"straight", "premultiplied"}, optional
        Meaning of the sample that follows the colours. None: further samples are not colours.
    palette : ndarray of uint8, shape (N, 3), optional
        RGB of each index.
    orientation : int
        Orientation of TIFF and EXIF, 1 to 8.
    ycbcr : YCbCr
    lab_offset : bool
        a* and b* of CIELab are unsigned with an offset (ICCLab) instead of signed.
    white : tuple of float
        Chromaticity (x, y) of the white of CIELab.
    profile : bytes or PngColours, optional
        ICC profile of CMYK or RGB, or the gamma and primaries of a PNG.
    """

    kind: Kind = "grey"
    bits: int | None = None
    white_is_zero: bool = False
    alpha: Literal["straight", "premultiplied"] | None = None
    palette: NDArray[np.uint8] | None = field(default=None, repr=False)
    orientation: int = 1
    ycbcr: YCbCr = YCbCr()
    lab_offset: bool = False
    white: tuple[float, float] = D50
    profile: Profile | None = field(default=None, repr=False)

    @property
    def turns(self) -> bool:
        """Whether rows and columns are exchanged."""
        return self.orientation >= 5
