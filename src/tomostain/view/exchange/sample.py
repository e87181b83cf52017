"""The test input of an exported model: a tile of normalised µCT, from a phantom or from a volume."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomostain.deprecation import renamed
from tomostain.errors import InputError
from tomostain.imaging.intensity import IntensityReference, normalise_ct
from tomostain.io import ModelSpec, open_volume
from tomostain.paths import StrPath
from tomostain.phantom import Label, PhantomConfig, grow_anatomy, tomograph
from tomostain.stain.intensity_reference import find_reference
from tomostain.stain.voxel_size_check import check_voxel_size
from tomostain.tiling.noise import FIRST_SLICE, slice_noise
from tomostain.tiling.slice_context import clip_slices, repeat_ends
from tomostain.view.exchange.shapes import GraphShapes

__getattr__ = renamed(__name__, {"PathLike": "tomostain.paths:StrPath"})

MAX_SIDE_PX = 256
"""Maximum side of a test input, px, unless the network needs more."""
_PHANTOM_UM = 20.0
_PHANTOM_PX = 192


@dataclass(frozen=True)
class Sample:
    """A test input.

    Attributes
    ----------
    ct : ndarray of float32, shape (1, slices, H, W)
        Normalised µCT.
    noise : ndarray of float32, shape (1, channels, H, W), or None
        For a model with a noise input.
    source : str
        Where the µCT comes from, in words.
    """

    ct: NDArray[np.float32]
    noise: NDArray[np.float32] | None
    source: str

    @property
    def middle(self) -> NDArray[np.float32]:
        """The slice that is stained, shape (H, W)."""
        middle: NDArray[np.float32] = self.ct[0, self.ct.shape[1] // 2]
        return middle


def make_sample(
    spec: ModelSpec,
    shapes: GraphShapes,
    ct: StrPath | None = None,
    voxel_um: float | Sequence[float] | None = None,
    *,
    allow_missing: bool = False,
) -> Sample:
    """Return a test input of about the size of a training patch.

    Parameters
    ----------
    spec : ModelSpec
    shapes : GraphShapes
    ct : path, optional
        A µCT volume, of which the centre is used. None: a phantom with 20 µm voxels.
    voxel_um, allow_missing
        As `tomostain.io.open_volume`.

    Raises
    ------
    InputError
        If the volume cannot be read, is too small, has another voxel size than the model, or no bone is found in it.
    """
    side = shapes.fitting(min(spec.patch_px, MAX_SIDE_PX))
    if ct is None:
        tile, source = _phantom_tile(shapes.slices, side), "a phantom of tomostain, 20 µm voxels"
    else:
        tile = _volume_tile(ct, spec, shapes.slices, side, voxel_um, allow_missing=allow_missing)
        source = f"the centre of {Path(ct).name}"
    noise = None
    if spec.noise is not None and shapes.noise_channels:
        noise = slice_noise(spec.noise, FIRST_SLICE, side, side)[None]
    return Sample(tile[None].astype(np.float32), noise, source)


def _phantom_tile(slices: int, side: int) -> NDArray[np.uint16]:
    """Return slices (S, side, side) of a phantom, around bone near the screw."""
    plane = max(side, _PHANTOM_PX)
    depth = max(slices, 8)
    volume, labels = _phantom(depth, plane)
    soft = np.isin(labels, (Label.AIR, Label.ADIPOCYTE))
    reference = IntensityReference(float(volume[soft].mean()), float(volume[labels == Label.BONE].mean()))
    first = (depth - slices) // 2
    bone = np.argwhere(labels[depth // 2] == Label.BONE)
    centre = bone[np.abs(bone - plane / 2).sum(axis=1).argmin()]
    y, x = (int(np.clip(middle - side // 2, 0, plane - side)) for middle in centre)
    return normalise_ct(volume[first : first + slices, y : y + side, x : x + side], reference)


@functools.lru_cache(maxsize=1)
def _phantom(depth: int, plane: int) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """Return the grey values and labels (depth, plane, plane) of a phantom."""
    config = PhantomConfig(shape=(depth, plane, plane), voxel_um=_PHANTOM_UM, orientation="lying", seed=1)
    return tomograph(grow_anatomy(config))


def _volume_tile(
    ct: StrPath,
    spec: ModelSpec,
    slices: int,
    side: int,
    voxel_um: float | Sequence[float] | None,
    *,
    allow_missing: bool,
) -> NDArray[np.uint16]:
    """Return slices (S, side, side) from the centre of a volume, normalised."""
    volume = open_volume(ct, voxel_um=voxel_um, allow_missing=allow_missing)
    check_voxel_size(volume.voxel_um, spec.voxel_um, str(ct), advice="resample it to that size first")
    depth, rows, columns = volume.shape
    if min(rows, columns) < side:
        raise InputError(f"`ct` {ct}: has {rows} x {columns} px; the test input needs {side} x {side}", parameter="ct")
    reference = find_reference(volume, "auto", str(ct))
    first = depth // 2 - slices // 2
    start, stop, repeat = clip_slices(first, first + slices, depth)
    y, x = (rows - side) // 2, (columns - side) // 2
    tile = repeat_ends(volume.read(start, stop)[:, y : y + side, x : x + side], repeat)
    assert reference is not None
    return normalise_ct(tile, reference)
