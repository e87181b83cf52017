"""Metrics that need the labels of the phantom: colour and Dice per tissue, and resolution."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomostain.dataset.dataset import Dataset
from tomostain.evaluate.metrics.resolution import single_image_resolution_um
from tomostain.evaluate.metrics.tissue import ColourClasses, colour_error
from tomostain.io import read_image
from tomostain.phantom.tissue import Label

# Classes of tissue with a distinct colour.
NAMES = {
    int(label): label.name.lower().replace("woven", "new bone")
    for label in (Label.SOFT, Label.MARROW, Label.ADIPOCYTE, Label.BONE, Label.WOVEN, Label.DEGRADATION, Label.SCREW)
}
# Grey levels per count when an image is split to measure its resolution; the same for all compared images.
GREY_PER_COUNT = 4.0


def labels_of(data: Dataset, pair_id: str) -> NDArray[np.uint8]:
    """Read the tissue of each pixel of a pair; air outside its mask."""
    labels = read_image(data.folder(pair_id) / "labels.tif")
    return np.where(data.load(pair_id).mask, labels, int(Label.AIR)).astype(np.uint8)


def colours_of(data: Dataset, ids: tuple[str, ...]) -> ColourClasses:
    """Learn the colours of each tissue from the histology of the training pairs."""
    reals = [data.load(pair_id).histology for pair_id in ids]
    return ColourClasses.learn(reals, [labels_of(data, pair_id) for pair_id in ids], list(NAMES))


def measure(data: Dataset, fold: int, stain: Callable[[NDArray[np.uint16]], NDArray[np.uint8]]) -> list[dict[str, Any]]:
    """Return, for each test pair, ΔE2000 and Dice of each tissue, and the resolution of output and input.

    Parameters
    ----------
    data : Dataset
        With ``labels.tif`` next to each pair.
    fold : int
        The colours are learned from the training pairs of this fold.
    stain : function
        From normalised µCT to RGB.

    Returns
    -------
    list of dict
        ``pair``, ``delta_e`` and ``dice`` per tissue (of the stained image), ``dice_real`` (of the real image: the
        maximum from colour alone), ``frc_um`` of the stained, the real and the µCT image.
    """
    split = data.split(fold)
    colours = colours_of(data, split.train)
    records = []
    for pair_id in split.test:
        pair, labels = data.load(pair_id), labels_of(data, pair_id)
        stained = stain(pair.ct)
        images = {"stained": stained.mean(axis=2), "real": pair.histology.mean(axis=2), "ct": pair.ct / 200.0}
        records.append(
            {
                "pair": pair_id,
                "delta_e": colour_error(stained, pair.histology, labels, NAMES),
                "dice": colours.dice(stained, labels, NAMES),
                "dice_real": colours.dice(pair.histology, labels, NAMES),
                "frc_um": {
                    name: single_image_resolution_um(image, pair.voxel_um, 0, GREY_PER_COUNT)
                    for name, image in images.items()
                },
            }
        )
    return records


def model_stainer(run: Path, stride_px: int | None = None) -> Callable[[NDArray[np.uint16]], NDArray[np.uint8]]:
    """Return a function that stains with the model of a run, by default with the default stride."""
    from tomostain.stain import StainConfig, load_translator, stain_slice

    translator, config = load_translator(run / "model", device="auto"), StainConfig(stride_px=stride_px)
    return lambda ct: stain_slice(translator, ct, config)
