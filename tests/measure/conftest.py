"""One small phantom, its stained volume and its section, for the tests of whole measurements."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tomostain.dataset.pair import Pair, save_pair
from tomostain.imaging.intensity import normalise_ct
from tomostain.imaging.intensity_estimation import volume_reference
from tomostain.io import open_volume
from tomostain.measure.classes import phantom_classes
from tomostain.phantom import PhantomConfig, write_specimen
from tomostain.phantom.specimen import load_specimen, truth_slice
from tomostain.stain import stain_volume

SLICE = 20


@dataclass(frozen=True)
class MeasuredPhantom:
    """The files of one specimen.

    Attributes
    ----------
    folder : Path
        With ``volume``.
    stained, uncertainty, pair : Path
    labels : ndarray of uint8
        The true classes.
    """

    folder: Path
    stained: Path
    uncertainty: Path
    pair: Path
    labels: np.ndarray


@pytest.fixture(scope="session")
def measured_phantom(tmp_path_factory) -> MeasuredPhantom:
    """Return a phantom of 40 slices, whose screw lies in the slices."""
    folder = tmp_path_factory.mktemp("measure") / "rat7"
    config = PhantomConfig(seed=77, material="Mg-10Gd", weeks=8, shape=(40, 144, 144), orientation="lying")
    write_specimen(config, folder)
    stained, uncertainty = folder.with_name("stained"), folder.with_name("uncertainty")
    stain_volume("builtin:phantom-tb", folder / "volume", stained, uncertainty=uncertainty)
    volume = open_volume(folder / "volume")
    ct = normalise_ct(volume.read(SLICE, SLICE + 1)[0], volume_reference(volume))
    histology, mask = truth_slice(load_specimen(folder), SLICE)
    section = {"origin_um": [SLICE * 20.0, 0, 0], "row": [0, 1, 0], "column": [0, 0, 1]}
    pair = Pair("rat7", ct, histology, mask, 20.0, stain="toluidine-blue", section=section)
    save_pair(pair, folder.with_name("pair"))
    labels = phantom_classes(tifffile.imread(folder / "truth" / "labels.tif"))
    return MeasuredPhantom(folder, stained, uncertainty, folder.with_name("pair"), labels)
