"""Check the voxel size of a volume: a network recognises structures by their size in pixels."""

from tomostain.errors import InputError, OutOfDistributionWarning, warn_user
from tomostain.io.metadata.units import format_sides, nearly_equal

TOLERANCE = 0.1
_ADVICE = "set `resample=True` to resample it, or `allow_voxel_mismatch=True` to stain it as it is"
_ISOTROPIC = 0.01


def check_voxel_size(
    voxel_um: tuple[float, float, float],
    model_um: float,
    source: str,
    *,
    allow_mismatch: bool = False,
    advice: str = _ADVICE,
) -> None:
    """Raise unless the in-plane voxel size is within 10 % of that of the model.

    Parameters
    ----------
    voxel_um : tuple of float
        Voxel size (z, y, x) of the volume, µm.
    model_um : float
        Pixel size of the training data, µm.
    source : str
        Named in the message.
    allow_mismatch : bool
        Accept any size.
    advice : str
        What the caller can do, for the message.

    Raises
    ------
    InputError
        If the difference is larger.
    """
    largest = max(abs(size / model_um - 1) for size in voxel_um[1:])
    if largest > TOLERANCE and not allow_mismatch:
        sizes = format_sides(voxel_um[1:])
        raise InputError(
            f"{source}: voxel size {sizes} µm, but the model was trained at {model_um:g} µm; {advice}",
            parameter="voxel_um",
        )


def warn_of_slice_distance(
    voxel_um: tuple[float, float, float], model_um: float, ct_slices: int, source: str, stacklevel: int | None = None
) -> None:
    """Warn if a model sees several slices that are not within 10 % of the distance of those in its training data.

    Parameters
    ----------
    voxel_um : tuple of float
        Voxel size (z, y, x) of the volume, µm.
    model_um : float
        Pixel size of the training data, µm, and the distance of their slices.
    ct_slices : int
        Neighbouring slices that the model sees at once.
    source : str
        Named in the message.
    stacklevel : int, optional
        As for `warnings.warn`. By default the line of the user is named.
    """
    if ct_slices > 1 and abs(voxel_um[0] / model_um - 1) > TOLERANCE:
        warn_user(
            f"{source}: its slices are {voxel_um[0]:g} µm apart, but the model sees {ct_slices} neighbouring slices, "
            f"which were {model_um:g} µm apart in its training data. The colours are unreliable; set `resample=True` "
            "to resample the volume",
            OutOfDistributionWarning,
            None if stacklevel is None else stacklevel + 1,
        )


def warn_of_stretched_slices(voxel_um: tuple[float, float, float], model_um: float, axis: int, source: str) -> None:
    """Warn if slices along y (1) or x (2), whose rows run along z, have rows of another size than the training data.

    Nothing is said if rows and columns of slices along z do not fit either: that was accepted when the volume was
    opened.

    Parameters
    ----------
    voxel_um : tuple of float
        Voxel size (z, y, x) of the volume, µm.
    model_um : float
        Pixel size of the training data, µm.
    axis : int
        Axis across the slices; 0 for z, which needs no warning.
    source : str
        Named in the message.
    """
    differ = [abs(size / model_um - 1) > TOLERANCE for size in voxel_um]
    if axis and differ[0] and not any(differ[1:]):
        warn_user(
            f"{source}: voxels of {format_sides(voxel_um)} µm are not cubes, so slices along {'zyx'[axis]} are "
            "stretched and their colours are unreliable; set `resample=True` to resample the volume",
            OutOfDistributionWarning,
        )


def check_isotropic(voxel_um: tuple[float, float, float], source: str) -> None:
    """Raise unless the three sides of a voxel are equal within 1 %, as staining along several axes needs.

    Raises
    ------
    InputError
        If they differ more.
    """
    if max(voxel_um) > (1 + _ISOTROPIC) * min(voxel_um):
        sides = format_sides(voxel_um)
        raise InputError(
            f"{source}: voxels of {sides} µm are not cubes; stain it along z only: leave out `planes`",
            parameter="planes",
        )


def needs_resampling(voxel_um: tuple[float, float, float], model_um: float) -> bool:
    """Return whether a side of the voxels differs from the pixel size of the model by more than 1 %.

    Examples
    --------
    >>> needs_resampling((10.0, 5.0, 5.0), 5.0), needs_resampling((5.02, 5.0, 5.0), 5.0)
    (True, False)
    """
    return not all(nearly_equal(side, model_um) for side in voxel_um)
