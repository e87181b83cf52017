"""A model in memory, as a training without a folder returns it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from tomostain.io.images import read_rgb
from tomostain.io.model_spec import PICTURE
from tomostain.io.models import Model, ModelExtras, load_model, save_model
from tomostain.paths import StrPath
from tomostain.train.logbook import METRICS

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False, repr=False)
class TrainedModel(Model):
    """A trained model in memory, with the losses of its training.

    Functions that take a model take it: `tomostain.load_stainer`, `tomostain.stain_volume`,
    `tomostain.evaluate_models`, `tomostain.measure_section`, and `init` of `tomostain.train_model`.

    Attributes
    ----------
    losses : DataFrame
        The content of ``metrics.csv``: the losses every ten steps, at the end of each epoch and at the last step, with
        the columns ``step``, ``epoch``, ``seconds``, the terms of the recipe, ``total``, the discriminators and the
        validation. NaN where a value was not computed.
    picture : ndarray of uint8, shape (Y, X, 3), optional
        A sample: µCT, stained, real histology.
    """

    losses: "pd.DataFrame" = field(kw_only=True)
    picture: NDArray[np.uint8] | None = field(default=None, kw_only=True)

    @classmethod
    def of_run(cls, run: StrPath, last_row: Mapping[str, float]) -> Self:
        """Read the model and the losses of a run into memory.

        Parameters
        ----------
        run : str or os.PathLike
            A finished run. Its files are not used any more afterwards.
        last_row : mapping of str to float
            The losses at the last step, as a row of ``metrics.csv``.
        """
        run = Path(run)
        model = load_model(run / "model")
        values = {each.name: getattr(model, each.name) for each in fields(Model)}
        # Copies: the tensors that were read are parts of the file.
        values["path"] = Path("trained model")
        values["state"] = {name: tensor.clone() for name, tensor in model.state.items()}
        if model.reverse_state is not None:
            values["reverse_state"] = {name: tensor.clone() for name, tensor in model.reverse_state.items()}
        if model.training_reference is not None:
            values["training_reference"] = {name: array.copy() for name, array in model.training_reference.items()}
        picture = model.path / PICTURE
        return cls(**values, losses=_losses(run, last_row), picture=read_rgb(picture) if picture.is_file() else None)

    def save(self, out: StrPath, *, overwrite: bool = False) -> Path:
        """Write the model as a model folder, which every function and verb takes.

        Parameters
        ----------
        out : path
            The new folder.
        overwrite : bool
            Replace a model folder.

        Returns
        -------
        Path
            `out`.

        Raises
        ------
        InputError
            If `out` exists.
        """
        save_model(
            out,
            self.spec,
            self.state,
            self.reverse_state,
            training_reference=self.training_reference,
            extras=ModelExtras(self.recipe, self.picture, self.discriminators),
            overwrite=overwrite,
        )
        return Path(out)

    def __repr__(self) -> str:
        spec = self.spec
        return f"TrainedModel({spec.recipe}, {spec.steps} steps, {spec.voxel_um:g} µm, hash {self.hash[:12]})"


def _losses(run: Path, last_row: Mapping[str, float]) -> "pd.DataFrame":
    """Return the metrics of a run, with those of the last step."""
    import pandas as pd

    table = pd.read_csv(run / METRICS)
    if last_row and last_row["step"] not in set(table["step"]):
        table = pd.DataFrame([*table.to_dict("records"), dict(last_row)], columns=table.columns)
    return table
