"""What a file states of the samples of an image."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["grey", "palette", "rgb", "ycbcr", "cmyk", "lab"]
D50 = (0.34567, 0.35850)
"""Chromaticity (x, y) of the white of CIELab where a TIFF states none, as in libtiff and Photoshop."""


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
    profile : bytes, optional
        ICC profile of CMYK. Profiles of RGB are not applied.
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
    profile: bytes | None = field(default=None, repr=False)

    @property
    def turns(self) -> bool:
        """Whether rows and columns are exchanged."""
        return self.orientation >= 5
