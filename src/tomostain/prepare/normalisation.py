"""Files with the regions or grey values of background and bone that a person chose, for `register` and `prepare`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

from tomostain.dataset.cut_pair import Box
from tomostain.errors import InputError
from tomostain.imaging.intensity import IntensityReference
from tomostain.io.atomic import write_text
from tomostain.paths import StrPath

FileUse = Literal["register", "prepare"]


@dataclass(frozen=True)
class ChosenNormalisation:
    """What a person chose.

    Attributes
    ----------
    ct : IntensityReference, optional
        Grey values of the volume.
    histology : (background, bone), optional
        Boxes of empty glass and of bone on the slide: (row0, row1, column0, column1), pixels of the finest level.
    """

    ct: IntensityReference | None = None
    histology: tuple[Box, Box] | None = None

    def to_config(self, use: FileUse) -> dict[str, object]:
        """Return the keys of `RegisterConfig`, or of `tomostain.prepare.PrepareConfig`."""
        grey = {} if self.ct is None else {"ct_background": self.ct.background, "ct_bone": self.ct.bone}
        boxes: dict[str, object] = {}
        if self.histology is not None:
            background, bone = (list(box) for box in self.histology)
            boxes = {"histology_background": background, "histology_bone": bone}
        if use == "register":
            return {**grey, **boxes}
        return {**grey, **({"registration": boxes} if boxes else {})}


def write_normalisation(
    path: StrPath, chosen: ChosenNormalisation, use: FileUse = "register", *, overwrite: bool = False
) -> None:
    """Write the choice as a YAML file that is given as `config`.

    Parameters
    ----------
    path : str or os.PathLike
    chosen : ChosenNormalisation
    use : {"register", "prepare"}
        The stage that reads it.
    overwrite : bool
        Replace an existing file.

    Raises
    ------
    InputError
        If nothing is chosen, or the file exists and `overwrite` is False.
    """
    values = chosen.to_config(use)
    if not values:
        raise InputError(f"{path}: there is nothing to write; draw regions of background and bone first")
    write_text(Path(path), yaml.safe_dump(values, sort_keys=False, default_flow_style=None), overwrite)
