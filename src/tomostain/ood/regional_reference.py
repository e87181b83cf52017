"""The training reference of a model: the texture of its training data, with distances between training pairs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomostain.deprecation import renamed
from tomostain.errors import InputError
from tomostain.imaging.network_range import CT_BACKGROUND, CT_BONE
from tomostain.ood.grey_limits import GREY_LIMITS
from tomostain.ood.nearest_places import Float32, Float64, distance_score, whiten
from tomostain.ood.residual import DIMENSIONS, TERMS, TextureModel
from tomostain.ood.texture import CONTENT, STEP_PX, TEXTURE, describe

Scores = Callable[[int, Float64], float]
# Regional features vary slowly, so every second place of the grid of features is enough.
GRID_PX = 2 * STEP_PX
# Side of the window that may hold air only, px, and the highest grey value of air, as a fraction of the step to bone.
AIR_WINDOW_PX, AIR_FRACTION = 49, 0.05
# The name of the array of the limits in a model folder.
_LIMITS = "limits"


@dataclass(frozen=True)
class Augmentation:
    """Ranges of the augmentation of the µCT in training (`tomostain.train.Augment`).

    Attributes
    ----------
    scale : (float, float)
        Minimum and maximum magnification.
    jitter : float
        Maximum relative change of contrast and brightness.
    """

    scale: tuple[float, float] = (0.9, 1.1)
    jitter: float = 0.1


@dataclass(frozen=True, eq=False)
class RegionalReference:
    """A sample of the texture of the training data.

    Attributes
    ----------
    content, expected, spread : ndarray of float32
        The regression of the texture on the content: `tomostain.ood.residual.TextureModel`.
    mean : ndarray of float32, shape (21,)
        Mean of the regional features over the sample.
    whitening : ndarray of float32, shape (21, 21)
        Makes differences of nearest neighbours in different pairs white.
    places : ndarray of float32, shape (N, 21)
        Whitened regional features of places in the training pairs, residuals out of fold.
    density : ndarray of float32, shape (N,)
        Distance of each place from its neighbours in other pairs, relative to the median.
    sides : ndarray of float32, shape (n,)
        Sides of slices, px, ascending; the last one is that of the training pairs.
    usual : ndarray of float32, shape (n,)
        The distance that has novelty 1, in slices of these sides.
    limits : (float, float)
        Lowest and highest grey value that is distinguished: the window of the networks. The default, which older
        references have, is not stored.
    """

    content: Float32
    expected: Float32
    spread: Float32
    mean: Float32
    whitening: Float32
    places: Float32
    density: Float32
    sides: Float32
    usual: Float32
    limits: tuple[float, float] = GREY_LIMITS

    # A larger novel share of a volume is out of distribution.
    share_limit: ClassVar[float] = 0.05
    grid_px: ClassVar[int] = GRID_PX

    def to_arrays(self) -> dict[str, Float32]:
        """Return the arrays that a model folder stores."""
        arrays = {field.name: getattr(self, field.name) for field in fields(self) if field.name != _LIMITS}
        return arrays if self.limits == GREY_LIMITS else arrays | {_LIMITS: np.array(self.limits, np.float32)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], source: str) -> Self:
        """Build the reference from the arrays of `to_arrays`.

        Raises
        ------
        InputError
            If the arrays have other names, shapes or values; the message names `source`.
        """
        number, sizes = len(arrays.get("places", ())), len(arrays.get("usual", ()))
        shapes: dict[str, tuple[int, ...]] = {
            "content": (2, CONTENT),
            "expected": (TERMS, TEXTURE),
            "spread": (TERMS, TEXTURE),
            "mean": (DIMENSIONS,),
            "whitening": (DIMENSIONS, DIMENSIONS),
            "places": (number, DIMENSIONS),
            "density": (number,),
            "sides": (sizes,),
            "usual": (sizes,),
        }
        if _LIMITS in arrays:
            shapes[_LIMITS] = (2,)
        values = {name: np.asarray(arrays.get(name, ())) for name in shapes}
        valid = min(number, sizes) > 0 and all(
            array.dtype == np.float32 and array.shape == shapes[name] and np.isfinite(array).all()
            for name, array in values.items()
        )
        if (
            not valid
            or not all((values[name] > 0).all() for name in ("density", "sides", "usual"))
            or values["content"][1].min() <= 0
            or not _ordered(values.get(_LIMITS, np.array(GREY_LIMITS)))
        ):
            raise InputError(
                f"{source}: does not hold a training reference of this version of tomostain; export the model again"
            )
        low, high = map(float, values.pop(_LIMITS, GREY_LIMITS))
        return cls(**values, limits=(low, high))

    def grid(self, ct: NDArray[Any]) -> Float32:
        """Return the novelty of every eighth pixel of a slice, shape (ceil(Y / 8), ceil(X / 8))."""
        model = TextureModel(self.content, self.expected, self.spread)
        regional = model.regional(describe(ct, self.limits), GRID_PX // STEP_PX)
        usual = np.interp(min(ct.shape), self.sides, self.usual)
        tissue = ~_air(ct)[::GRID_PX, ::GRID_PX]
        whitened = whiten(regional[tissue], self.mean, self.whitening)
        novelty = np.zeros(regional.shape[:-1], np.float32)
        novelty[tissue] = distance_score(whitened, self.places, self.density) / usual
        return novelty

    def sample(self, ct: NDArray[Any]) -> Float32:
        """Return the same as `grid`."""
        return self.grid(ct)


def _ordered(limits: NDArray[Any]) -> bool:
    """Return whether limits are grey values of 16 bits that background and bone lie between."""
    low, high = map(float, limits)
    return bool(0 <= low < CT_BACKGROUND < CT_BONE < high <= 65535)


def _air(ct: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where a window contains only air: there is no tissue to stain, so nothing can be novel.

    Reconstructions have empty end slices and constant values outside a circular field of view.
    """
    smooth = ndimage.gaussian_filter(np.clip(ct.astype(np.float32), *GREY_LIMITS), 2.0)
    limit = CT_BACKGROUND + AIR_FRACTION * (CT_BONE - CT_BACKGROUND)
    return ndimage.maximum_filter(smooth, AIR_WINDOW_PX) < limit


__getattr__ = renamed(
    __name__,
    {
        "fit_reference": "tomostain.ood.reference_fit:fit_reference",
    },
)
