"""The options and the result of an export of a model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from tomostain.deprecation import renamed
from tomostain.paths import StrPath
from tomostain.view.exchange.shapes import GraphShapes

__getattr__ = renamed(__name__, {"PathLike": "tomostain.paths:StrPath"})

RDF = "rdf.yaml"
"""The description in a package of the BioImage Model Zoo."""


class ModelExportKeywords(TypedDict, total=False):
    """The fields of `ModelExportOptions` as keyword arguments."""

    ct: StrPath | None
    voxel_um: float | Sequence[float] | None
    allow_missing: bool
    authors: Sequence[str]
    licence: str


@dataclass(frozen=True)
class ModelExportOptions:
    """Optional parts of an exported model.

    Attributes
    ----------
    ct : path, optional
        A µCT volume with the voxel size of the model: its centre is the test input. By default a phantom.
    voxel_um : float or sequence of float, optional
        Voxel size of `ct` if its files do not state it, µm.
    allow_missing : bool
        Fill slices of `ct` of which data are missing with zeros.
    authors : sequence of str
        Names, for ``bioimageio``. Needed unless the model is one of tomostain.
    licence : str
        SPDX identifier such as "CC-BY-4.0", for ``bioimageio``. Default: that of the model.
    """

    ct: StrPath | None = None
    voxel_um: float | Sequence[float] | None = None
    allow_missing: bool = False
    authors: Sequence[str] = ()
    licence: str = ""


@dataclass(frozen=True)
class ExportedModel:
    """A model that was exported.

    Attributes
    ----------
    path : Path
    to : str
        The format.
    shapes : GraphShapes
        The sizes that the graph takes.
    difference : float
        Maximum difference between ONNX Runtime and PyTorch for the test input, grey levels.
    size_bytes : int
    """

    path: Path
    to: str
    shapes: GraphShapes
    difference: float
    size_bytes: int

    def describe(self) -> str:
        """Return size, allowed tiles and the difference from PyTorch, in words."""
        sides = f"multiples of {self.shapes.multiple} px" if self.shapes.multiple > 1 else "any size"
        return (
            f"{self.size_bytes / 1e6:.1f} MB; rows and columns: {sides}, at least {self.shapes.minimum} px; "
            f"differs from PyTorch by at most {self.difference:.2g} grey levels"
        )
