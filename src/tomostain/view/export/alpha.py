"""Rules for the alpha channel of an exported volume: which voxels are opaque and which transparent."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tomostain.config import suggest
from tomostain.errors import InputError
from tomostain.integers import refuse_not_finite, to_integers
from tomostain.io.ome_zarr.pyramid import halve
from tomostain.io.ome_zarr.reader import StainedVolume
from tomostain.io.volumes.volume import Volume
from tomostain.view.browser.grey_copy import grey_window
from tomostain.view.render.rgba import HAZE, rgba

RULES = ("paper", "tissue", "ct")


@dataclass(frozen=True)
class Alpha:
    """A rule for alpha, for one level of one volume.

    Attributes
    ----------
    rule : str
        Its name: one of `RULES`.
    formula : str
        Its formula, for the metadata of the export.
    add : callable
        ``add(rgb, z0)``: colours (z, Y, X, 3) of the slices from `z0` on, to colours with alpha (z, Y, X, 4), uint8.
    """

    rule: str
    formula: str
    add: Callable[[NDArray[np.uint8], int], NDArray[np.uint8]]


def open_alpha(rule: str, stained: StainedVolume, level: int = 0, ct: Volume | None = None) -> Alpha:
    """Return a rule by its name.

    Parameters
    ----------
    rule : str
        ``paper``: 255 - mean(R, G, B), so dark stain is opaque and white glass transparent. ``tissue``: opaque where
        the paper's alpha is above the haze of the glass, else transparent. ``ct``: the grey value of the µCT.
    stained : StainedVolume
        The stained volume.
    level : int
        Level of its pyramid.
    ct : Volume, optional
        The µCT that was stained, for the rule ``ct``.

    Raises
    ------
    InputError
        If the rule is unknown, or the µCT is missing, not used by the rule, or of another shape.

    References
    ----------
    Irvine et al., J. Synchrotron Rad. 2026, section 2.11 (``paper``).
    """
    if rule not in RULES:
        raise InputError(f"`alpha` {rule}: unknown rule{suggest(rule, list(RULES))}", parameter="alpha")
    if rule == "ct":
        if ct is None:
            raise InputError("`alpha=ct`: needs the µCT that was stained; state it with `ct`", parameter="ct")
        return _ct_alpha(stained, level, ct)
    if ct is not None:
        raise InputError(f"`ct` {ct.path}: is not used by `alpha={rule}`; omit it, or set `alpha=ct`", parameter="ct")
    if rule == "paper":
        return Alpha(rule, "255 - mean(R, G, B)", lambda rgb, z0: rgba(rgb))
    return Alpha(rule, f"255 where 255 - mean(R, G, B) > {HAZE}, else 0", lambda rgb, z0: tissue_rgba(rgb))


def tissue_rgba(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Add an alpha of 255 where there is tissue and 0 where there is glass.

    Parameters
    ----------
    rgb : ndarray of uint8, shape (..., 3)
        Colours.

    Returns
    -------
    ndarray of uint8, shape (..., 4)

    Examples
    --------
    >>> tissue_rgba(np.array([[250, 250, 240], [120, 60, 150]], dtype=np.uint8))[..., 3].tolist()
    [0, 255]
    """
    result = rgba(rgb)
    result[..., 3] = np.where(result[..., 3] > HAZE, 255, 0)
    return result


def _ct_alpha(stained: StainedVolume, level: int, ct: Volume) -> Alpha:
    """Return the rule that uses the grey value, averaged over the voxels that a voxel of a coarser level covers."""
    if ct.shape != stained.shape:
        raise InputError(
            f"`ct` {ct.path}: has the shape {ct.shape}, but the stained volume has {stained.shape}; "
            "state the µCT of the volume"
        )
    low, high = grey_window(ct)

    def add(rgb: NDArray[np.uint8], z0: int) -> NDArray[np.uint8]:
        start, stop = z0 << level, min((z0 + len(rgb)) << level, ct.shape[0])
        share = (ct.read(start, stop).astype(np.float32) - low) / (high - low)
        refuse_not_finite(share, f"{ct.path}: grey values")
        alpha = to_integers(np.clip(share, 0, 1) * 255, np.uint8, "alpha")[None]
        for _ in range(level):
            alpha = halve(alpha)
        return np.concatenate([rgb, alpha[0][..., None]], axis=-1)

    return Alpha("ct", f"grey value of {ct.path.name}: {low:g} is 0, {high:g} is 255", add)
