"""One image file in, one stained image file out."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError, OutOfDistributionWarning
from tomostain.imaging.intensity import IntensityReference, estimate_reference, normalise_ct
from tomostain.io import read_image, write_image
from tomostain.io.atomic import refuse_existing
from tomostain.ood import check_slices
from tomostain.stain.config import StainConfig
from tomostain.stain.slices import stain_slice
from tomostain.stain.translator import load_translator
from tomostain.stain.voxel_size_check import check_voxel_size


def stain_image(
    model: Path,
    source: Path,
    out: Path,
    *,
    config: StainConfig | None = None,
    levels: IntensityReference | str | None = None,
    voxel_um: tuple[float, float, float] | None = None,
    allow_voxel_mismatch: bool = False,
    device: str = "auto",
    overwrite: bool = False,
) -> Path:
    """Stain a single µCT image.

    Parameters
    ----------
    model, source, out : Path
        Model folder; a greyscale image; the stained image (PNG or TIFF, by its ending).
    config, levels, voxel_um, allow_voxel_mismatch, device, overwrite
        As `stain_volume`. Without `voxel_um` the image is taken to have the model's.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    InputError
        If the image is not greyscale, or as `stain_volume`.
    """
    refuse_existing(out, overwrite)
    config = config or StainConfig()
    if config.gaussian_sigma:
        raise InputError(
            f"gaussian_sigma {config.gaussian_sigma:g}: is a 3D filter, and {source} is one image; leave it out"
        )
    translator = load_translator(model, device, precision=config.precision)
    ct = read_image(source)
    if ct.ndim == 3 and (ct[..., :1] == ct).all():
        ct = ct[..., 0]
    if ct.ndim != 2:
        raise InputError(f"{source}: is a colour image; staining needs a greyscale µCT image")
    if voxel_um is not None:
        check_voxel_size(voxel_um, translator.spec.voxel_um, str(source), allow_voxel_mismatch)
    if levels is None:
        levels = estimate_reference(ct, str(source))
    normalised = ct.astype(np.float32) if isinstance(levels, str) else normalise_ct(ct, levels)
    check_slices(translator.reference, normalised[None], str(source)).warn()
    seen = _as_slab(normalised, translator.spec.ct_slices, source)
    write_image(out, stain_slice(translator, seen, config), overwrite=overwrite)
    return out


def _as_slab(ct: NDArray[Any], number: int, source: Path) -> NDArray[Any]:
    """Return an image as often as the model sees slices; warn where that is more than one."""
    if number == 1:
        return ct
    warnings.warn(
        f"{source}: the model sees {number} neighbouring slices, and this is one image: it is taken for all of them. "
        "What it draws is more certain with the volume around it",
        OutOfDistributionWarning,
        stacklevel=3,
    )
    return np.repeat(ct[None], number, axis=0)
