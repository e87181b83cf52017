"""What to stain, and how: one object that every stage of staining takes.

To add an option: add a field to `StainRequest` and to `StainOptions` here, and an option to ``cli/stain.py``.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, TypedDict, Unpack, get_args

from tomostain.config import check_keywords
from tomostain.errors import InputError, warn_user
from tomostain.imaging.intensity import IntensityReference
from tomostain.io import Volume, open_volume
from tomostain.io.array_source import ArraySource
from tomostain.io.models import Model as StoredModel
from tomostain.io.ome_zarr.create import check_zarr_output
from tomostain.io.ome_zarr.plan import stored_plan
from tomostain.io.output_folder import check_folder_name, source_paths
from tomostain.models import find_model
from tomostain.networks.precision import Precision
from tomostain.paths import StrPath
from tomostain.stain.config import StainConfig
from tomostain.stain.noise import check_noise_options
from tomostain.stain.translator import Translator, load_translator

Intensity: TypeAlias = IntensityReference | Literal["auto", "normalised", "range"]
VoxelSize = float | tuple[float, float, float]


class LoadedModel(Protocol):
    """Anything that holds a loaded model, such as `tomostain.stain.Stainer`."""

    @property
    def translator(self) -> Translator:
        """The loaded model."""


Model = StrPath | Translator | LoadedModel | StoredModel


@dataclass(frozen=True, eq=False)
class StainRequest:
    """What to stain, and how.

    Attributes
    ----------
    model : path, Stainer, Translator or TrainedModel
        A model folder, a loaded model, or a model in memory (`tomostain.train_model`).
    volume : path or Volume
        Anything that `tomostain.io.open_volume` opens, or an open volume, such as of `Volume.from_array`.
    out : path, optional
        The stained OME-Zarr. None: the result is an array.
    config : StainConfig
    intensity : IntensityReference, "auto", "normalised" or "range"
        Grey values of background and bone. "auto": estimate them from the volume (paper section 2.5). "normalised": the
        volume is normalised already (background 10000, bone 30000). The older values None and "none" still work.
    voxel_um : float or tuple of float, optional
        Voxel size, or (z, y, x), µm; necessary where the file does not state it.
    dataset : str, optional
        Name of the dataset in an HDF5 file.
    allow_missing : bool
        Fill slices of which data are missing with zeros; the provenance lists them.
    device : str
        ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``. A loaded model stays on its device.
    allow_voxel_mismatch : bool
        Stain although the voxel size is not that of the model.
    resample : bool
        Resample the volume to the voxel size of the model while it is read (`tomostain.imaging.resampling`). The
        stained volume has this voxel size. Grey values of background and bone are those of the original volume.
    uncertainty : path, optional
        A second OME-Zarr of the same size: where the colours are unreliable
        (`tomostain.stain.uncertainty_map.uncertainty_map`).
    ensemble : sequence of path, Stainer, Translator or TrainedModel
        Models of other folds. The uncertainty then includes their disagreement with `model`.
    noise_seed : int
        For models with a noise input: other seeds give another texture where the µCT does not determine it.
    noise_samples : int
        For models with a noise input: compare so many seeds, from `noise_seed` on. The uncertainty then includes the
        spread of their colours. The stained volume is that of `noise_seed`.
    intensity_figure : path, optional
        PNG to write: the histogram of the grey values with those of background and bone.
    overwrite : bool
        Replace a stained volume at `out`, and at `uncertainty`.
    resume : bool
        Continue an interrupted volume, or repair a damaged one, with the same model, input and options.
    may_fall_back : bool
        Whether slices of which `config.precision` gives no finite colours may be stained in float32, although it is
        explicit. Set by `with_precision`; not an option of the user.

    Raises
    ------
    InputError
        If the options exclude one another.
    """

    model: Model
    volume: StrPath | Volume
    out: StrPath | None = None
    config: StainConfig = field(default_factory=StainConfig)
    intensity: Intensity = "auto"
    voxel_um: VoxelSize | None = None
    dataset: str | None = None
    allow_missing: bool = False
    device: str = "auto"
    allow_voxel_mismatch: bool = False
    resample: bool = False
    uncertainty: StrPath | None = None
    ensemble: Sequence[Model] = ()
    noise_seed: int = 0
    noise_samples: int = 1
    intensity_figure: StrPath | None = None
    overwrite: bool = False
    resume: bool = True
    may_fall_back: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "config", self.config or StainConfig())
        object.__setattr__(self, "intensity", _intensity(self.intensity))
        check_noise_options(self.noise_seed, self.noise_samples)
        if self.resample and self.allow_voxel_mismatch:
            raise InputError(
                "`resample` and `allow_voxel_mismatch`: the volume is resampled or stained as it is; give only one",
                parameter="resample",
            )
        if self.ensemble and self.uncertainty is None:
            raise InputError(
                "`ensemble`: other models are only used for the uncertainty; give its path with `uncertainty`",
                parameter="ensemble",
            )
        if self.noise_samples > 1 and self.uncertainty is None:
            raise InputError(
                "`noise_samples`: the spread of the colours is written to the uncertainty; give its path with "
                "`uncertainty`",
                parameter="noise_samples",
            )
        if self.uncertainty is None:
            return
        if self.out is None:
            raise InputError("`uncertainty`: is written next to a stained volume; give `out`", parameter="uncertainty")
        if Path(self.uncertainty).resolve() == Path(self.out).resolve():
            raise InputError(
                f"{self.uncertainty}: is the path of the stained volume; give another path for `uncertainty`",
                parameter="uncertainty",
            )
        if self.config.planes != "z":
            raise InputError(
                f"{self.uncertainty}: the uncertainty is only available with `planes=z`, not '{self.config.planes}'",
                parameter="uncertainty",
            )

    @property
    def source(self) -> str:
        """Name of the volume, for messages."""
        return str(self.volume.path if isinstance(self.volume, Volume) else self.volume)

    @property
    def out_path(self) -> Path:
        """The output as a path.

        Raises
        ------
        InputError
            If there is none.
        """
        if self.out is None:
            raise InputError("`out` is missing: give the path of the stained volume", parameter="out")
        return Path(self.out)

    @property
    def sources(self) -> list[Path]:
        """The files and folders that are read."""
        models = [find_model(each) for each in (self.model, *self.ensemble) if isinstance(each, str | os.PathLike)]
        return source_paths(self.volume, *models)

    def check_names(self) -> None:
        """Raise if a volume to write has the name of a file."""
        for path in (self.out_path, self.uncertainty):
            if path is not None:
                check_folder_name(path, "stained volume", is_zarr=True)

    def check_outputs(self) -> None:
        """Raise if a volume to write may not be written or replaced, before anything is read."""
        self.check_names()
        for path in (self.out_path, self.uncertainty):
            if path is not None:
                check_zarr_output(
                    path, self.sources, overwrite=self.overwrite, resume=self.resume and not self.overwrite
                )

    def open_volume(self) -> Volume:
        """Open the volume; no grey value is read."""
        if not isinstance(self.volume, Volume):
            return open_volume(
                self.volume, voxel_um=self.voxel_um, dataset=self.dataset, allow_missing=self.allow_missing
            )
        if self.voxel_um is not None or self.dataset is not None:
            raise InputError(f"{self.source}: `voxel_um` and `dataset` are for files; this volume is open already")
        return self.volume

    def load_model(self, model: Model | None = None, *, reverse: bool = False) -> Translator:
        """Load the model, or another one for the same device and precision.

        Parameters
        ----------
        model : path, Stainer, Translator or TrainedModel, optional
            By default `self.model`.
        reverse : bool
            Load the reverse generator too.

        Raises
        ------
        InputError
            As `load_translator`, or if a loaded model has another precision.
        """
        model = self.model if model is None else model
        if isinstance(model, (str, os.PathLike, StoredModel)):
            return load_translator(
                model,
                self.device,
                reverse=reverse,
                precision=self.config.precision,
                may_fall_back=self.may_fall_back or None,
            )
        translator = model if isinstance(model, Translator) else model.translator
        if self.config.precision not in ("auto", translator.precision):
            raise InputError(
                f"precision {self.config.precision}: the model is loaded with {translator.precision}; load it again",
                parameter="precision",
            )
        return translator

    def with_begun_precision(self) -> "StainRequest":
        """Return the request with the precision of the volume that it continues, if it leaves the precision open.

        A volume never mixes precisions: it may have been started on another device, or by an older version.
        """
        if self.config.precision != "auto" or self.out is None or not self.resume or self.overwrite:
            return self
        stored: Any = stored_plan(self.out_path) if self.out_path.is_dir() else None
        for key in ("provenance", "options", "precision"):
            stored = stored.get(key) if isinstance(stored, Mapping) else None
        if stored not in get_args(Precision):
            return self
        return self.with_precision(stored)

    def with_precision(self, precision: Precision) -> "StainRequest":
        """Return the request with what "auto" means here; slices may be stained in float32 as with "auto"."""
        return replace(self, config=self.config.model_copy(update={"precision": precision}), may_fall_back=True)


class StainOptions(TypedDict, total=False):
    """Keyword arguments of `stain_volume`: the fields of `StainRequest`, and their older names."""

    config: StainConfig | None
    intensity: Intensity | None
    voxel_um: VoxelSize | None
    dataset: str | None
    allow_missing: bool
    device: str
    allow_voxel_mismatch: bool
    resample: bool
    uncertainty: StrPath | None
    ensemble: Sequence[Model]
    noise_seed: int
    noise_samples: int
    intensity_figure: StrPath | None
    overwrite: bool
    resume: bool
    levels: IntensityReference | str | None
    doubt: StrPath | None
    also: Sequence[Model]
    levels_picture: StrPath | None


RENAMED = {
    "levels": "intensity",
    "doubt": "uncertainty",
    "also": "ensemble",
    "levels_picture": "intensity_figure",
}
"""Older names of options, which keep working."""


def make_request(
    model: Model, volume: StrPath | Volume | ArraySource, out: StrPath | None = None, **options: Unpack[StainOptions]
) -> StainRequest:
    """Build a request from keyword arguments; older names work with a `DeprecationWarning`.

    `volume` may also be an array with the keyword `voxel_um`, or a tuple (array, voxel_um).

    Examples
    --------
    >>> make_request("run/model", "scan.tif", "stained.ome.zarr", voxel_um=5).intensity
    'auto'
    """
    for name in ("background", "bone"):
        if name in options:
            advice = "give both grey values as `intensity=tomostain.IntensityReference(background, bone)`"
            raise TypeError(f"stain_volume() got an unexpected keyword argument '{name}'; {advice}")
    check_keywords("stain_volume", options, StainOptions.__annotations__)
    current: dict[str, object] = {}
    for name, value in options.items():
        if name in RENAMED:
            warn_user(f"`{name}` is now `{RENAMED[name]}`", DeprecationWarning)
        current[RENAMED.get(name, name)] = value
    if not isinstance(volume, str | os.PathLike | Volume):
        volume = open_volume(volume, voxel_um=options.get("voxel_um"))
        current["voxel_um"] = None
    return StainRequest(model, volume, out, **current)  # type: ignore[arg-type]  # the keys are those of StainOptions


def _intensity(value: object) -> Intensity:
    """Return the intensity reference; None and "none" are older values."""
    if isinstance(value, IntensityReference):
        return value
    if value is None or value == "auto":
        return "auto"
    if value in ("none", "normalised"):
        return "normalised"
    if value == "range":
        return "range"
    raise InputError(
        f"intensity '{value}': expected an IntensityReference, 'auto' to estimate it, 'normalised' or 'range'",
        parameter="intensity",
    )
