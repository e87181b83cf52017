"""Does the volume have the voxel size that the model knows?"""

from tomostain.errors import InputError

TOLERANCE = 0.1


def check_voxel_size(
    voxel_um: tuple[float, float, float], model_um: float, source: str, allow_mismatch: bool = False
) -> None:
    """Raise unless the in-plane voxel size is within 10 % of the model's: a network knows structures by their pixels.

    Parameters
    ----------
    voxel_um : tuple of float
        Of the volume, (z, y, x), µm.
    model_um : float
        That the model was trained at, µm.
    source : str
        Named in the message.
    allow_mismatch : bool
        Accept any size.

    Raises
    ------
    InputError
        If it differs more.
    """
    worst = max(abs(size / model_um - 1) for size in voxel_um[1:])
    if worst > TOLERANCE and not allow_mismatch:
        sizes = " x ".join(f"{size:g}" for size in voxel_um[1:])
        raise InputError(
            f"{source}: voxel size {sizes} µm, but the model was trained at {model_um:g} µm; resample the volume, "
            "or stain it as it is with --allow-voxel-mismatch"
        )
