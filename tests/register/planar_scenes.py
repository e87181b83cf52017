"""Synthetic pairs of one section with a known transform: three classes, each with a µCT value and a colour."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomostain.register.planar_pose import PlanarPose

PIXEL_UM = 10.0
SHAPE = (200, 240)
# µCT values and colours of ground, fibres and islands. H&E of soft tissue: pinks and violets, and no bone.
SOFT_CT = (90.0, 105.0, 120.0)
SOFT_COLOURS = ((238, 200, 214), (214, 130, 170), (130, 90, 160))


def classes(seed: int = 0, shape: tuple[int, int] = SHAPE) -> NDArray[np.int64]:
    """Return a tissue of three classes in an irregular outline. -1 is outside."""
    rng = np.random.default_rng(seed)
    fine, coarse = (ndimage.gaussian_filter(rng.standard_normal(shape), s) for s in (2.5, 6.0))
    image = np.zeros(shape, dtype=np.int64)
    image[fine > 0.9 * fine.std()] = 1
    image[coarse > 1.0 * coarse.std()] = 2
    rows, columns = np.indices(shape)
    wobble = ndimage.gaussian_filter(rng.standard_normal(shape), 15.0)
    radius = np.hypot((rows / shape[0] - 0.5) / 0.42, (columns / shape[1] - 0.5) / 0.45)
    image[radius + 0.15 * wobble / wobble.std() > 1.0] = -1
    return image


def ct_of(image: NDArray[np.int64], values: tuple[float, ...] = SOFT_CT, seed: int = 1) -> NDArray[np.float32]:
    """Return the µCT of a tissue in a medium, with noise."""
    grey = np.choose(np.clip(image, 0, 2), values)
    grey = np.where(image < 0, 80.0, grey)
    noise = 4.0 * np.random.default_rng(seed).standard_normal(image.shape)
    return (ndimage.gaussian_filter(grey, 1.0) + noise).astype(np.float32)


def slide_of(
    image: NDArray[np.int64], pose: PlanarPose, colours: tuple[tuple[int, ...], ...] = SOFT_COLOURS, seed: int = 2
) -> NDArray[np.uint8]:
    """Return the stained slide that lies at `pose` on the tissue, with noise. White outside of the tissue."""
    linear = pose.linear
    offset = (pose.centre_um - linear @ pose.middle_um) / PIXEL_UM
    table = np.array([*colours, (250, 250, 250)], dtype=np.float32)
    sides = tuple(int(1.45 * max(image.shape)) for _ in range(2)) if pose.angle else image.shape
    on_slide = ndimage.affine_transform(image, linear, offset, sides, order=0, mode="constant", cval=-1)
    rgb = ndimage.gaussian_filter(table[on_slide], (0.8, 0.8, 0))
    noise = 5.0 * np.random.default_rng(seed).standard_normal(rgb.shape)
    return np.clip(np.rint(rgb + noise), 0, 255).astype(np.uint8)


def error_px(section, pose: PlanarPose) -> NDArray[np.float64]:
    """Return the distances of 200 points of the tissue from the truth, pixels."""
    on_slice = np.random.default_rng(0).uniform(0.25, 0.75, (200, 2)) * np.array(SHAPE) * PIXEL_UM
    on_slide = np.linalg.solve(pose.linear, (on_slice - pose.centre_um).T).T + pose.middle_um
    registered = section.to_volume_um(section.slide_to_section_um(on_slide))[:, 1:]
    return np.linalg.norm(registered - on_slice, axis=1) / PIXEL_UM
