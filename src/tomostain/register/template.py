"""The template: µCT values that are expected from the colours of the slide.

The colour determines the tissue (bone, soft tissue, black metal, empty glass), and the tissue the approximate
attenuation. Only the screw is unknown: dense (Mg, Ti), light (PEEK), or a hole where the section has lost it (H&E). So
the template consists of several hypotheses that differ in the screw.
"""

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from tomostain.errors import InputError
from tomostain.imaging.colour import (
    ColourReference,
    background_region,
    estimate_colour_reference,
    new_bone,
    tissue_classes,
    white_balance,
)
from tomostain.integers import to_integers
from tomostain.register.template_features import (
    BONE,
    EDGE_UM,
    NEW_BONE,
    PALE,
    SOFT,
    Float32,
    density_of,
    hull_of,
    is_stiff,
    large_bodies,
    texture_weight,
    without_specks,
)
from tomostain.register.template_sampling import TemplatePicture

Pixel = TypeVar("Pixel", bound=np.generic)
SCREW = {"dense": 1.2, "light": 0.22}
# A large area of one colour is weak evidence, so it has a low weight.
SCREW_WEIGHT, HOLE_WEIGHT, RIM_WEIGHT = 0.35, 0.15, 0.3
RIM_UM = 150.0
# Strain of each stain: below 1 to 2 % with toluidine blue, 3 to 4 % with H&E.
STRAIN_STIFF, STRAIN_SOFT = 0.012, 0.03
_HOLE_UM = 140.0
# In the last refinement tissue this close to the screw has weight 0, if at least this fraction of the weight remains.
_NEAR_SCREW_UM, _MIN_TISSUE = 60.0, 0.15


@dataclass(frozen=True, eq=False)
class Template:
    """The slide as µCT would show it, on (coarse) pixels of the slide.

    Attributes
    ----------
    base : ndarray of float32, shape (Y, X)
        Expected µCT value of everything except the screw.
    screw : ndarray of float32, shape (Y, X)
        Fraction of the pixel that is screw, 0 to 1.
    weight : ndarray of float32, shape (Y, X)
        Weight of each pixel. 0 away from the tissue.
    rgb : ndarray of uint8, shape (Y, X, 3)
        White-balanced colours.
    pixel_um : float
    first_um : float
        Position of the centre of the first pixel on the slide, equal for rows and columns, µm.
    hypotheses : tuple of str
        Possible materials of the screw: keys of `SCREW`, or "none".
    inside : ndarray of bool, shape (Y, X), optional
        Convex hull of the tissue. A rim of air around it also has a weight.
    colour_reference : ColourReference, optional
        White of the slide, estimated or given.
    fixed_middle_um : ndarray of float64, shape (2,), optional
        Centre of the template, if it is not that of the weighted pixels.
    """

    base: Float32
    screw: Float32
    weight: Float32
    rgb: NDArray[np.uint8]
    pixel_um: float
    first_um: float
    hypotheses: tuple[str, ...]
    inside: NDArray[np.bool_] | None = None
    colour_reference: ColourReference | None = None
    fixed_middle_um: NDArray[np.float64] | None = None

    @property
    def middle_um(self) -> NDArray[np.float64]:
        """Centre of the bounding box of the weighted pixels, (row, column) on the slide, µm."""
        if self.fixed_middle_um is not None:
            return self.fixed_middle_um
        rows, columns = np.nonzero(self.weight)
        middle = np.array([rows.min() + rows.max(), columns.min() + columns.max()]) / 2
        return np.asarray(middle * self.pixel_um + self.first_um)

    @property
    def half_um(self) -> NDArray[np.float64]:
        """Half the sides of that bounding box (row, column), µm."""
        rows, columns = np.nonzero(self.weight)
        return np.array([np.ptp(rows) + 1, np.ptp(columns) + 1]) / 2 * self.pixel_um

    @property
    def corners_um(self) -> torch.Tensor:
        """Corners of the inner 60 % of that bounding box, from its centre, shape (4, 2), µm, to compare poses."""
        signs = np.array([(-1, -1), (-1, 1), (1, -1), (1, 1)])
        return torch.tensor(signs * self.half_um * 0.6, dtype=torch.float32)

    def values(self, base: Float32, screw: Float32) -> Float32:
        """Return the expected values of all hypotheses, shape (H, ...)."""
        pictures = []
        for name in self.hypotheses:
            pictures.append(base * (1 - screw) + SCREW.get(name, PALE) * screw)
        return np.stack(pictures).astype(np.float32)

    def tissue_alone(self) -> "Template":
        """Return the template without the rim of air, the screw and its surroundings, or itself if little would remain.

        The outline may be that of a broken piece. The edges of the screw in µCT depend on blur, streaks and
        degradation. They are so strong that they tilt the plane by one or two degrees where the screw covers much of a
        small section.
        """
        near_screw = ndimage.distance_transform_edt(self.screw < 0.5) * self.pixel_um <= _NEAR_SCREW_UM
        tissue = ~near_screw if self.screw.any() else np.ones_like(near_screw)
        if self.inside is not None:
            tissue &= self.inside
        weight = np.where(tissue, self.weight, 0).astype(np.float32)
        if weight.sum() < _MIN_TISSUE * self.weight.sum():
            return self
        # The centre stays the same, because poses refer to it.
        return replace(self, weight=weight, fixed_middle_um=self.middle_um)

    @property
    def screw_radius_um(self) -> float:
        """Radius of the largest disc in the screw, or in the hole that it left, µm. 0 if there is none."""
        # The border of the image is not an edge of the screw.
        padded = np.pad(self.screw > 0.5, 1, mode="edge")
        return float(ndimage.distance_transform_edt(padded).max()) * self.pixel_um if padded.any() else 0.0

    @property
    def strain(self) -> float:
        """Standard deviation of the strain that the preparation for the stain leaves (paper section 2.3).

        Sections for toluidine blue are ground and stay stiff. Those for H&E are cut from softened bone.
        """
        inside = (self.weight > 0) & (self.screw < 0.5)
        return STRAIN_STIFF if is_stiff(self.rgb, inside) else STRAIN_SOFT

    def of_material(self, material: str) -> "Template":
        """Return the template with a known material of the screw."""
        return replace(self, hypotheses=(material,))

    def picture(self, pixel_um: float) -> TemplatePicture:
        """Return the template at about `pixel_um`, as weighted points."""
        base, screw, weight, step, first = self.shrunk(pixel_um)
        rows, columns = np.nonzero(weight > 0.02)
        u = np.stack([rows, columns], axis=1) * step + first - self.middle_um
        values = self.values(base[rows, columns], screw[rows, columns])
        return TemplatePicture(
            torch.tensor(u, dtype=torch.float32),
            torch.from_numpy(values),
            torch.from_numpy(weight[rows, columns]),
        )

    def colours_at(self, u_um: torch.Tensor) -> NDArray[np.uint8]:
        """Return the colours of the slide at points (N, 2) relative to the centre, µm, shape (N, 3)."""
        return self.pick(self.rgb, u_um)

    def pick(self, image: NDArray[Pixel], u_um: torch.Tensor) -> NDArray[Pixel]:
        """Return the nearest pixels of an image on the template's grid at points (N, 2) from the centre, µm."""
        index = (u_um.numpy() + self.middle_um - self.first_um) / self.pixel_um
        row, column = np.clip(to_integers(index, np.int64, "positions"), 0, np.array(self.weight.shape) - 1).T
        return np.asarray(image[row, column])

    def shrunk(self, pixel_um: float) -> tuple[Float32, Float32, Float32, float, float]:
        """Return base, screw and weight on pixels of about `pixel_um`, the pixel size, and the first position."""
        factor = max(1.0, pixel_um / self.pixel_um)
        arrays = (self.base * self.weight, self.screw * self.weight, self.weight)
        if factor < 1.05:
            return self.base, self.screw, self.weight, self.pixel_um, self.first_um
        shape = [max(1, int((n - 1) / factor) + 1) for n in self.weight.shape]
        smooth = [ndimage.gaussian_filter(a, 0.45 * factor, mode="constant") for a in arrays]
        small = [ndimage.affine_transform(a, [factor] * 2, output_shape=shape, order=1) for a in smooth]
        # Weighted means, so that pixels of weight 0 have no influence.
        safe = np.maximum(small[2], 1e-3)
        return small[0] / safe, small[1] / safe, small[2], self.pixel_um * factor, self.first_um


def make_template(
    rgb: NDArray[np.uint8],
    pixel_um: float,
    first_um: float = 0.0,
    material: str | None = None,
    source: str = "slide",
    colour_reference: ColourReference | None = None,
) -> Template:
    """Make the template of a slide.

    Parameters
    ----------
    rgb : ndarray of uint8, shape (Y, X, 3)
        The slide, at about the resolution of registration.
    pixel_um, first_um : float
        Pixel size, and position of the centre of the first pixel, µm.
    material : {"dense", "light"}, optional
        Material of the screw, if known. None: all are tried.
    source : str
        Named in error messages.
    colour_reference : ColourReference, optional
        White of the slide. None: estimated.

    Raises
    ------
    InputError
        If there is no tissue on the slide.
    """
    colour_reference = colour_reference or estimate_colour_reference(rgb, source=source)
    white = float(np.mean(colour_reference.white))
    balanced = white_balance(rgb, colour_reference.white)
    bone, metal = tissue_classes(balanced, white)
    smooth = ndimage.gaussian_filter(balanced, (1, 1, 0)) / white
    colourless = np.ptp(smooth, axis=2).max() < 0.05
    # Without colour, bone is not distinguishable: everything stained, averaged over its fibres, is dense.
    base = density_of(smooth.mean(axis=2), pixel_um) if colourless else _grey_values(smooth, bone, metal)
    tissue = bone | metal | (smooth.min(axis=2) < 0.86)
    tissue = without_specks(tissue, pixel_um)
    if not tissue.any():
        raise InputError(f"{source}: no tissue found on the slide; check that it is the right file")
    inside = hull_of(tissue)
    glass = inside & (background_region(rgb) | (smooth.min(axis=2) > 0.93))
    empty = large_bodies(glass, _HOLE_UM / pixel_um)
    metal = large_bodies(metal & inside, 60.0 / pixel_um)
    base[~inside] = 0.0
    has_metal = metal.sum() > 0.01 * inside.sum()
    screw = metal if has_metal else empty
    if colourless and not has_metal:
        # A grey scan shows glass in many places, so a hole does not suggest a lost screw.
        screw = np.zeros_like(metal)
    weight = _weights(inside, screw, pixel_um)
    if not colourless:
        weight *= texture_weight(balanced / white, inside & ~screw, pixel_um)
    names: tuple[str, ...] = tuple(SCREW) if material is None else (material,)
    if has_metal:
        weight[empty] *= HOLE_WEIGHT
    elif screw.sum() > 0.01 * inside.sum():
        base[empty] = 0.0
    else:
        names = ("none",)
    colours = to_integers(balanced, np.uint8, "colours of the slide", clip=True)
    part = screw.astype(np.float32)
    return Template(base, part, weight, colours, pixel_um, first_um, names, inside, colour_reference)


def _grey_values(smooth: NDArray[np.floating], bone: NDArray[np.bool_], metal: NDArray[np.bool_]) -> Float32:
    """Return the expected grey values of the µCT of a coloured slide, as fractions of its white."""
    pale = np.clip((smooth.min(axis=2) - 0.72) / 0.2, 0, 1)
    base = np.where(bone, BONE, SOFT + (PALE - SOFT) * pale).astype(np.float32)
    base[new_bone(smooth) & ~metal] = NEW_BONE
    return base


def _weights(inside: NDArray[np.bool_], screw: NDArray[np.bool_], pixel_um: float) -> Float32:
    """Return the weights of tissue and rim, lower at the screw and its edge."""
    weight = inside.astype(np.float32)
    # Air around the tissue may be air in the µCT too, or a missing piece of tissue.
    weight[~inside & (ndimage.distance_transform_edt(~inside) * pixel_um <= RIM_UM)] = RIM_WEIGHT
    # The edge of the screw depends on blur, streaks and the saw, so it has the low weight of the screw.
    if screw.any():
        weight[ndimage.distance_transform_edt(~screw) * pixel_um <= EDGE_UM] *= SCREW_WEIGHT
    return weight
