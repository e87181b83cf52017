"""A loaded model that stains arrays: normalise and stain in one call, for notebooks and viewers."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError, OutOfDistributionWarning, warn_user
from tomostain.imaging.intensity import full_range_reference, normalise_ct
from tomostain.imaging.intensity_estimation import estimate_reference
from tomostain.integers import refuse_not_finite
from tomostain.io import Volume, open_volume
from tomostain.io.array_source import ArraySource
from tomostain.io.models import Model
from tomostain.ood import check_slices
from tomostain.paths import StrPath
from tomostain.progress import Progress, ShouldStop, never, silent
from tomostain.stain.chunk import stain_to_array
from tomostain.stain.config import StainConfig
from tomostain.stain.grey_chunks import Grey
from tomostain.stain.job import StainJob
from tomostain.stain.noise import check_noise_input, check_noise_options
from tomostain.stain.request import Intensity, StainRequest
from tomostain.stain.slices import stain_slice
from tomostain.stain.translator import Translator, load_translator
from tomostain.stain.voxel_size_check import check_voxel_size
from tomostain.tiling.noise import SlicePosition

RGB = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Stainer:
    """A loaded model that stains arrays.

    `load_stainer` makes one.

    Attributes
    ----------
    translator : Translator
        The loaded model.
    config : StainConfig
    noise_seed : int
        For a model with a noise input.
    """

    translator: Translator
    config: StainConfig = field(default_factory=StainConfig)
    noise_seed: int = 0

    def __post_init__(self) -> None:
        check_noise_options(self.noise_seed)
        check_noise_input([self.translator], self.noise_seed)

    def __repr__(self) -> str:
        return f"Stainer({self.translator.describe()})"

    @property
    def voxel_um(self) -> float:
        """The voxel size that the arrays must have, µm: the pixel size of the training data."""
        return self.translator.spec.voxel_um

    def __call__(
        self,
        ct: ArraySource | Volume,
        *,
        intensity: Intensity = "auto",
        progress: Progress = silent,
        should_stop: ShouldStop = never,
        source: str = "array",
    ) -> RGB:
        """Stain a slice or a volume.

        Parameters
        ----------
        ct : array-like, shape (Y, X) or (Z, Y, X), or a volume with its voxel size: a Volume or (array, µm)
            Grey values. An array alone has voxels of `voxel_um`. The size of a volume must be that of the model.
            NumPy, memory-mapped, Zarr, HDF5 and dask volumes are read one chunk at a time.
        intensity : IntensityReference, "auto" or "normalised"
            Grey values of background and bone. "auto": estimate them from the array. "normalised": the array is
            normalised already (background 10000, bone 30000).
        progress : Progress
            Called after every slice of a volume. To cancel, raise an exception or use `should_stop`.
        should_stop : callable
            Asked between two chunks of a volume.
        source : str
            Name of the array in messages.

        Returns
        -------
        ndarray of uint8, shape (Y, X, 3) or (Z, Y, X, 3)

        Raises
        ------
        InputError
            If the array has another number of axes, no bone is found in it, or its voxel size is not that of the model.
        InterruptedRunError
            After `should_stop` returned True.
        """
        if isinstance(ct, tuple):
            ct = open_volume(ct)
        axes = len(getattr(ct, "shape", None) or np.shape(ct))
        if axes == 2:
            return self._stain_slice(np.asarray(ct), intensity, source)
        if axes != 3:
            raise InputError(f"{source}: has {axes} axes; expected rows and columns (Y, X), or slices (Z, Y, X)")
        volume = ct if isinstance(ct, Volume) else Volume.from_array(ct, voxel_um=self.voxel_um, name=source)
        resample = f"resample it with `tomostain.resample_volume(volume, {self.voxel_um:g})`"
        check_voxel_size(volume.voxel_um, self.voxel_um, source, advice=resample)
        job = StainJob.open(
            StainRequest(self, volume, config=self.config, intensity=intensity, noise_seed=self.noise_seed)
        )
        return stain_to_array(job, progress, should_stop)

    def _stain_slice(self, ct: NDArray[np.generic], intensity: Intensity, source: str) -> RGB:
        if self.config.gaussian_sigma:
            raise InputError(
                f"gaussian_sigma {self.config.gaussian_sigma:g}: is a 3D filter; leave it out for one image ({source})",
                parameter="gaussian_sigma",
            )
        refuse_not_finite(ct, f"{source}: grey values")
        normalised: Grey
        if intensity == "normalised":
            normalised = ct.astype(np.float32)
        else:
            if intensity == "auto":
                intensity = estimate_reference(ct, source)
            elif intensity == "range":
                intensity = full_range_reference(ct.dtype, source)
            normalised = normalise_ct(ct, intensity)
        check_slices(self.translator.reference, normalised[None], source).warn()
        number = self.translator.spec.ct_slices
        if number > 1:
            warn_user(
                f"{source}: the model sees {number} neighbouring slices, and this is one image: it is used for all of "
                "them. The colours are more reliable with the volume around it",
                OutOfDistributionWarning,
            )
            normalised = normalised[None].repeat(number, axis=0)
        return stain_slice(self.translator, normalised, self.config, SlicePosition(seed=self.noise_seed))


def load_stainer(
    model: StrPath | Model,
    *,
    device: str = "auto",
    config: StainConfig | None = None,
    noise_seed: int = 0,
) -> Stainer:
    """Load a model that stains arrays.

    Parameters
    ----------
    model : path or TrainedModel
        Model folder, run or ``builtin:NAME``, of which nothing is executed; or a model in memory, such as
        `tomostain.train_model` returns.
    device : str
        ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``.
    config : StainConfig, optional
    noise_seed : int
        For a model with a noise input.

    Returns
    -------
    Stainer

    Raises
    ------
    InputError
        As `load_translator`, or if `noise_seed` is given for a model without a noise input.
    """
    config = config or StainConfig()
    return Stainer(load_translator(model, device, precision=config.precision), config, noise_seed)
