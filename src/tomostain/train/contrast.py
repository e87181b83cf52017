"""Whether bright µCT is bright histology, which unpaired training cannot learn."""

from collections.abc import Sequence

import numpy as np

from tomostain.dataset.dataset import Dataset
from tomostain.dataset.pair import Pair
from tomostain.errors import OutOfDistributionWarning, warn_user
from tomostain.tiling.ct_window import DEFAULT_CT_WINDOW, CtWindow
from tomostain.train.recipe import Recipe


def contrast(pairs: Sequence[Pair], window: CtWindow = DEFAULT_CT_WINDOW) -> float:
    """Return the correlation of µCT and the grey values of histology inside the masks.

    Parameters
    ----------
    pairs : sequence of Pair
    window : tuple of int
        The grey values that the networks distinguish. Brighter ones are clipped.

    Returns
    -------
    float
        From -1 to 1; NaN if one of them is constant. Below 0, bright structures of one are dark in the other, as bone
        usually is.
    """
    ct = np.concatenate([np.minimum(pair.ct[pair.mask], float(window[1])).astype(np.float64) for pair in pairs])
    grey = np.concatenate([pair.histology[pair.mask].mean(axis=1, dtype=np.float64) for pair in pairs])
    return float(np.corrcoef(ct, grey)[0, 1]) if ct.size > 1 and np.ptp(ct) and np.ptp(grey) else float("nan")


def warn_about_contrast(recipe: Recipe, data: Dataset, fold: int | None) -> None:
    """Warn if the contrast is inverted and only the adversarial terms relate colours to grey values."""
    if recipe.paired:
        return
    pairs = [data.load(pair_id, recipe.ct_slices) for pair_id in data.split(fold).train]
    correlation = contrast(pairs, recipe.ct_window)
    if correlation > 0 if recipe.inverted_ct else correlation < 0:
        remedy = "inverted_ct: false" if recipe.inverted_ct else "inverted_ct: true, as cyclegan-inverted"
        warn_user(
            f"{data.path}: µCT, as recipe '{recipe.name}' sees it, and histology have opposite contrast (correlation "
            f"{correlation:.2f} before inversion). Without a paired term the networks may keep bright bright and dark "
            f"dark. Take {remedy}, or a paired recipe",
            OutOfDistributionWarning,
        )
