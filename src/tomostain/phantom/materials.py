"""X-ray attenuation of the materials of a specimen, from tabulated cross-sections (xraydb: Elam, Ravel & Sieber 2002).

After critical-point drying (paper section 2.1) soft tissue is a light scaffold. The densities below were chosen such
that soft tissue has low contrast in the µCT, and fat almost none.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tomostain.phantom.tissue import Label, Tissue

# Mass fractions and densities of metals, g/cm³ (Mg-Gd: rule of mixtures from 1.74 and 7.90).
METALS: dict[str, tuple[dict[str, float], float]] = {
    "Mg-5Gd": ({"Mg": 0.95, "Gd": 0.05}, 1.81),
    "Mg-10Gd": ({"Mg": 0.90, "Gd": 0.10}, 1.89),
    "Ti": ({"Ti": 1.0}, 4.51),
}
PEEK = ("C19H12O3", 1.30)
APATITE = ("Ca5P3O13H", 3.16)
COLLAGEN = ("C2H5.5N0.6O0.8", 1.35)
BRUCITE = ("MgO2H2", 2.34)
POLYPROPYLENE = ("C3H6", 0.90)
DRIED = {Label.SOFT: 0.90, Label.MARROW: 0.65, Label.ADIPOCYTE: 0.12, Label.LACUNA: 0.10, Label.CANAL: 0.30}
# Volume fraction of mineral in the densest bone.
DENSEST = 0.45
BONES = (Label.BONE, Label.WOVEN)


@dataclass(frozen=True)
class Attenuation:
    """Linear attenuation, 1/cm, of each label: ``constant + by_mineral * mineral + by_fibre * fibre``.

    Attributes
    ----------
    constant, by_mineral, by_fibre : ndarray of float32, shape (len(Label),)
    """

    constant: NDArray[np.float32]
    by_mineral: NDArray[np.float32]
    by_fibre: NDArray[np.float32]

    def of(self, tissue: Tissue) -> NDArray[np.float32]:
        """Return the attenuation of tissue, 1/cm, as an array of the same shape."""
        mu = self.constant[tissue.label]
        mu += self.by_mineral[tissue.label] * tissue.mineral
        mu += self.by_fibre[tissue.label] * tissue.fibre
        return mu

    def at(self, label: Label, mineral: float = 0.0) -> float:
        """Return the attenuation of one label, 1/cm."""
        return float(self.constant[label] + self.by_mineral[label] * mineral)

    @property
    def bone(self) -> float:
        """Attenuation of mature bone with 70 % of the mineral of the densest bone, 1/cm."""
        return self.at(Label.BONE, 0.7)


@lru_cache(maxsize=64)
def attenuation_table(energy_kev: float, material: str) -> Attenuation:
    """Return the attenuation of every label at a photon energy.

    Parameters
    ----------
    energy_kev : float
    material : {"Mg-5Gd", "Mg-10Gd", "Ti", "PEEK"}
        Material of the screw. The degradation layer is made from it.
    """
    apatite, collagen, brucite = (_compound(*stuff, energy_kev) for stuff in (APATITE, COLLAGEN, BRUCITE))
    constant, by_mineral, by_fibre = (np.zeros(len(Label), np.float32) for _ in range(3))
    constant[Label.TUBE] = _compound(*POLYPROPYLENE, energy_kev)
    for label, density in DRIED.items():
        constant[label] = 0.7 * collagen * density / COLLAGEN[1]
        by_fibre[label] = 0.6 * collagen * density / COLLAGEN[1]
    for label in BONES:
        constant[label], by_mineral[label] = collagen * (1 - DENSEST), DENSEST * apatite
    screw = screw_attenuation(energy_kev, material)
    constant[Label.SCREW] = screw
    # The layer retains the gadolinium of the metal and takes up calcium phosphate (Krüger et al. 2022).
    constant[Label.DEGRADATION] = 0.35 * brucite + 0.35 * screw
    by_mineral[Label.DEGRADATION] = 0.32 * apatite
    return Attenuation(constant, by_mineral, by_fibre)


def screw_attenuation(energy_kev: float, material: str) -> float:
    """Return the linear attenuation of the screw, 1/cm."""
    from xraydb import mu_elam

    if material == "PEEK":
        return _compound(*PEEK, energy_kev)
    fractions, density = METALS[material]
    return float(density * sum(part * mu_elam(element, energy_kev * 1e3) for element, part in fractions.items()))


def _compound(formula: str, density: float, energy_kev: float) -> float:
    """Return the linear attenuation of a compound, 1/cm."""
    from xraydb import material_mu

    return float(material_mu(formula, energy_kev * 1e3, density=density))
