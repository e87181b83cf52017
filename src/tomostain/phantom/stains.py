"""The two stains of the paper, as absorbances of each tissue.

Colours are those of a section of 40 µm on a white background (red, green and blue, 0 to 255). The Beer–Lambert law
converts them to absorbances per µm. They follow the paper's section 2.1 and Sarve et al. 2007 (toluidine
blue/pyronin: bone in shades of purple, darker where it is younger, soft tissue bluer, new woven bone at the layer
bright blue) and after published H&E tiles (bone deep pink, soft tissue purple).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tomostain.phantom.tissue import Label, Tissue

NOMINAL_UM = 40.0
Colour = tuple[float, float, float]
CLEAR: Colour = (255.0, 255.0, 255.0)


def absorbance_per_um(colour: Colour) -> NDArray[np.float32]:
    """Return the absorbance per µm that gives `colour` through 40 µm.

    Examples
    --------
    >>> [round(float(value), 4) for value in absorbance_per_um((25.5, 255.0, 255.0))]
    [0.025, 0.0, 0.0]
    """
    return (np.log10(255.0 / np.maximum(colour, 1e-3)) / NOMINAL_UM).astype(np.float32)


@dataclass(frozen=True)
class Stain:
    """Colours of a stain.

    Attributes
    ----------
    colours : mapping of Label to colour
        Colour through 40 µm. Other labels are clear.
    young : colour
        Colour of the youngest woven bone, at the implant.
    by_mineral, by_fibre : mapping of Label to float
        Variation v of the absorbance with mineral and texture: a factor from 1 - v to 1 + v for values from 0 to 1.
    """

    colours: Mapping[Label, Colour]
    young: Colour
    by_mineral: Mapping[Label, float]
    by_fibre: Mapping[Label, float]

    def absorbance_per_um(self, tissue: Tissue) -> NDArray[np.float32]:
        """Return the absorbance per µm in red, green and blue, shape (..., 3)."""
        table = np.stack([absorbance_per_um(self.colours.get(label, CLEAR)) for label in Label])
        mineral = np.array([self.by_mineral.get(label, 0.0) for label in Label], np.float32)
        fibre = np.array([self.by_fibre.get(label, 0.0) for label in Label], np.float32)
        label = tissue.label
        factor = 1 + mineral[label] * (2 * tissue.mineral - 1) + fibre[label] * (2 * tissue.fibre - 1)
        absorbance = table[label] * factor[..., None]
        woven = label == Label.WOVEN
        youth = tissue.youth[woven][:, None]
        absorbance[woven] = (1 - youth) * absorbance[woven] + youth * absorbance_per_um(self.young)
        return np.asarray(absorbance, dtype=np.float32)


TOLUIDINE_BLUE = Stain(
    colours={
        Label.SOFT: (128, 158, 205),
        Label.MARROW: (134, 140, 186),
        Label.ADIPOCYTE: (238, 240, 245),
        Label.BONE: (160, 114, 174),
        Label.WOVEN: (122, 74, 150),
        Label.LACUNA: (58, 48, 104),
        Label.CANAL: (186, 190, 222),
        Label.DEGRADATION: (118, 108, 100),
        Label.SCREW: (1, 1, 1),
    },
    young=(58, 104, 214),
    by_mineral={Label.BONE: -0.9, Label.WOVEN: -0.5, Label.DEGRADATION: 0.5},
    by_fibre={Label.SOFT: 0.5, Label.MARROW: 0.6, Label.DEGRADATION: 0.25},
)

HAEMATOXYLIN_EOSIN = Stain(
    colours={
        Label.SOFT: (192, 148, 196),
        Label.MARROW: (142, 100, 164),
        Label.ADIPOCYTE: (247, 240, 245),
        Label.BONE: (202, 84, 116),
        Label.WOVEN: (196, 98, 148),
        Label.LACUNA: (74, 44, 108),
        Label.CANAL: (226, 200, 220),
        Label.DEGRADATION: (150, 118, 122),
        # The laser cut removes the screw (paper section 2.1), so its place transmits all light.
        Label.SCREW: CLEAR,
    },
    young=(186, 104, 172),
    by_mineral={Label.BONE: -0.8, Label.WOVEN: -0.4, Label.DEGRADATION: 0.5},
    by_fibre={Label.SOFT: 0.5, Label.MARROW: 0.6, Label.DEGRADATION: 0.25},
)

STAINS: dict[str, Stain] = {"toluidine-blue": TOLUIDINE_BLUE, "h&e": HAEMATOXYLIN_EOSIN}
