"""Measures and their definitions: name, symbol, unit, dimension and method of each number.

Names and symbols follow the nomenclature of the ASBMR (Dempster et al. 2013, J. Bone Miner. Res. 28, 2,
doi:10.1002/jbmr.1805; for µCT: Bouxsein et al. 2010, J. Bone Miner. Res. 25, 1468, doi:10.1002/jbmr.141). A measure
of a plane and the measure of a volume have different names and symbols (B.Ar/T.Ar and BV/TV, Tb.Wi and Tb.Th), because
their values differ.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from tomostain.errors import InputError

Dimension = Literal[2, 3]


@dataclass(frozen=True)
class Definition:
    """What a measure is.

    Attributes
    ----------
    id : str
        The name in tables, such as ``bic_surface``.
    symbol : str
        ASBMR symbol where there is one.
    title : str
        The name in words.
    unit : str
        ``%``, ``µm``, ``mm³``, ``1/mm³`` …; empty for a ratio.
    dimension : {2, 3}
        Whether it is measured in a plane or in a volume.
    method : str
        Identifier of the algorithm with its version, such as ``bic-surface-1``. It changes when the algorithm does.
    text : str
        How it is computed, in one or two sentences, with the source.
    """

    id: str
    symbol: str
    title: str
    unit: str
    dimension: Dimension
    method: str
    text: str


DEFINITIONS: dict[str, Definition] = {}
"""All definitions by their identifier. Filled by `define` when the modules of the measures are imported."""


def define(id: str, *, symbol: str, title: str, unit: str, dimension: Dimension, method: str, text: str) -> Definition:
    """Register the definition of a measure, and return it.

    Raises
    ------
    ValueError
        If the identifier is already used.
    """
    if id in DEFINITIONS:
        raise ValueError(f"the measure {id!r} is defined twice")
    definition = Definition(id, symbol, title, unit, dimension, method, " ".join(text.split()))
    DEFINITIONS[id] = definition
    return definition


@dataclass(frozen=True)
class Measure:
    """One number of one specimen.

    Attributes
    ----------
    definition : Definition
    value : float
        In the unit of the definition. NaN if it cannot be measured; `note` says why.
    region : str
        Where it was measured: ``all``, or for example ``0-100 µm`` for a shell around the implant.
    sd_model : float
        Standard deviation between the models, or the classifiers, of an ensemble; NaN if there is one only.
    sd_registration : float
        Standard deviation over planes within the error of the registration; NaN for a volume.
    note : str
        What limits the value, such as a partial field of view. Empty if nothing does.
    """

    definition: Definition
    value: float
    region: str = "all"
    sd_model: float = math.nan
    sd_registration: float = math.nan
    note: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """Identifier and region, which are unique within one specimen."""
        return self.definition.id, self.region

    def with_note(self, note: str) -> "Measure":
        """Return the same measure with a sentence added to its note."""
        return replace(self, note=f"{self.note}; {note}" if self.note else note)


def by_key(measures: Iterable[Measure]) -> dict[tuple[str, str], Measure]:
    """Return measures by identifier and region.

    Raises
    ------
    InputError
        If two have the same.
    """
    result: dict[tuple[str, str], Measure] = {}
    for measure in measures:
        if measure.key in result:
            raise InputError(f"the measure '{measure.key[0]}' of the region '{measure.key[1]}' occurs twice")
        result[measure.key] = measure
    return result
