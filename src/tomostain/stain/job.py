"""A volume with the model that stains it: opened and checked once, before the work begins."""

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tomostain import __version__
from tomostain.deprecation import renamed
from tomostain.imaging.gaussian import TRUNCATE
from tomostain.imaging.intensity import IntensityReference
from tomostain.imaging.resampling import Resampling, resample_volume, resampling_of
from tomostain.installation import available_cores
from tomostain.io import Volume
from tomostain.memory import free_memory
from tomostain.ood import VolumeReport, check_volume
from tomostain.stain.comparison_memory import comparison_bytes
from tomostain.stain.config import StainConfig
from tomostain.stain.intensity_reference import find_reference, is_left_over
from tomostain.stain.noise import check_noise_input
from tomostain.stain.pass_size import free_gpu_memory
from tomostain.stain.pipeline import ONE_EACH, InFlight, PiecesInFlight, pieces_in_flight
from tomostain.stain.request import StainRequest
from tomostain.stain.slice_stainer import SliceStainer
from tomostain.stain.translator import Translator
from tomostain.stain.uncertainty import CYCLE, FULL_SCALE, NOVELTY
from tomostain.stain.uncertainty_map import kind_of, load_ensemble
from tomostain.stain.uncertainty_stainer import UncertaintyStainer
from tomostain.stain.volume_statistics import check_instance_norm
from tomostain.stain.voxel_size_check import (
    check_isotropic,
    check_voxel_size,
    needs_resampling,
    warn_of_slice_distance,
)
from tomostain.tiling.noise import SlicePosition

WRITTEN_BYTES = 7  # Of each voxel that is written: its colours, as they are and compressed, and the coarser levels.
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StainJob:
    """A volume, the models that stain it, and all settings resolved.

    Attributes
    ----------
    volume : Volume
    translator : Translator
    config : StainConfig
        Resolved for the model.
    intensity : IntensityReference or None
        Grey values of background and bone; None if the volume is normalised.
    report : VolumeReport
        How far the volume is from the training data.
    ensemble : tuple of Translator
        The models of the uncertainty, `translator` first; empty if none was requested.
    fingerprint : callable
        Returns the fingerprint of the original volume; reads the volume once.
    noise_seed : int
        For models with a noise input.
    noise_samples : int
        Number of seeds whose colours are compared for the uncertainty.
    resampling : Resampling or None
        How `volume` is resampled; None if it is the original.
    planar_colours : bool
        The memory of the colours of a z chunk (n, Y, X, 3) has the channels before the rows, as OME-Zarr stores them,
        so that the writer reads it in order.
    """

    volume: Volume
    translator: Translator
    config: StainConfig
    intensity: IntensityReference | None
    report: VolumeReport
    ensemble: tuple[Translator, ...]
    fingerprint: Callable[[], str]
    noise_seed: int = 0
    noise_samples: int = 1
    resampling: Resampling | None = None
    original_missing: Mapping[str, list[list[int]]] = field(default_factory=dict)
    planar_colours: bool = False

    @classmethod
    def open(cls, request: StainRequest) -> "StainJob":
        """Open model and volume, check that they fit, and find the grey values of background and bone.

        Raises
        ------
        InputError
            If model, volume or options do not fit.
        """
        source = request.source
        ensemble = load_ensemble(request) if request.uncertainty is not None else ()
        translator = ensemble[0] if ensemble else request.load_model()
        models = ensemble or (translator,)
        check_noise_input(models, request.noise_seed, request.noise_samples)
        original, model_um = request.open_volume(), translator.spec.voxel_um
        resampled = request.resample and needs_resampling(original.voxel_um, model_um)
        volume = resample_volume(original, model_um) if resampled else original
        check_voxel_size(volume.voxel_um, model_um, source, allow_mismatch=request.allow_voxel_mismatch)
        if not request.allow_voxel_mismatch:
            warn_of_slice_distance(volume.voxel_um, model_um, max(each.spec.ct_slices for each in models), source)
        figure = None if request.intensity_figure is None else Path(request.intensity_figure)
        intensity = find_reference(
            original,
            request.intensity,
            source,
            figure,
            overwrite=request.overwrite,
            replace_other_volume=is_left_over(figure, request.out),
        )
        report = check_volume(translator.reference, volume, intensity, source)
        report.warn()
        config = _resolved(request.config, models, volume, source)
        _log.info("%s: %s", source, volume.describe())
        _log.info("model: %s, on %s", translator.hash, translator.device)
        values = "normalised" if intensity is None else f"background {intensity.background:g}, bone {intensity.bone:g}"
        _log.info("%s: grey values: %s", source, values)
        return cls(
            volume,
            translator,
            config,
            intensity,
            report,
            tuple(ensemble),
            functools.cache(original.fingerprint),
            noise_seed=request.noise_seed,
            noise_samples=request.noise_samples,
            resampling=resampling_of(original, model_um) if resampled else None,
            original_missing=original.missing_record(),
            planar_colours=request.out is not None and config.planes == "z",
        )

    @property
    def is_batched(self) -> bool:
        """Whether a z chunk is stained at once and without waiting for its colours: on a GPU."""
        return self.translator.device.type != "cpu"

    @functools.cached_property
    def in_flight(self) -> InFlight:
        """How many z chunks are read and written at the same time. On a CPU, staining takes longer than both.

        They take at most a quarter of the free memory of the host, and their grey values of that of the GPU, without
        the images that are compared for the uncertainty.
        """
        flight = self.pieces_in_flight(*self._chunk_bytes())
        return flight if self.volume.is_concurrent else replace(flight, ahead=1)

    @property
    def chunks_in_flight(self) -> PiecesInFlight:
        """The z chunks that are in memory at the same time."""
        return PiecesInFlight(self.in_flight, *self._chunk_bytes())

    def _chunk_bytes(self) -> tuple[int, int]:
        """Return the memory of a z chunk on the host and on a GPU."""
        pixels = self.volume.shape[1] * self.volume.shape[2]
        uploaded = min(self.config.z_chunk, self.volume.shape[0]) + self.ct_slices - 1
        grey_bytes = 4 if self.halo else self.volume.dtype.itemsize  # float32 after the Gaussian filter
        others = 3 * len(self.config.planes.replace("z", ""))  # colours along other axes, fused on the device
        written = WRITTEN_BYTES * (1 + bool(self.ensemble))
        on_host = (uploaded + 2 * self.halo) * pixels * (2 * self.volume.dtype.itemsize + 2 * others + written)
        on_device = uploaded * pixels * (grey_bytes + others) if "z" in self.config.planes else 0
        return on_host, on_device

    def pieces_in_flight(self, host_bytes: int, device_bytes: int) -> InFlight:
        """Return how many pieces of work that take this memory are read and written at the same time."""
        if not self.is_batched:
            return ONE_EACH
        device, cores = self.translator.device, available_cores()
        free_on_gpu = max(0, free_gpu_memory(device) - self.comparison_bytes) if device.type == "cuda" else None
        on_host = pieces_in_flight(cores, host_bytes, free_memory())
        return on_host.at_most(pieces_in_flight(cores, device_bytes, free_on_gpu))

    @property
    def comparison_bytes(self) -> int:
        """Memory of the images that are compared for the uncertainty: of each model and further seed, or of the cycle.

        On a CPU one slice is compared at a time.
        """
        images = len(self.ensemble) + self.noise_samples - 1
        depth, rows, columns = self.volume.shape
        novelty = self.has_novelty and self.translator.device.type == "cuda"
        slices = min(self.config.z_chunk, depth) if self.is_batched else 1
        return comparison_bytes(images, slices, rows * columns, novelty=novelty, cycle_error=self.has_cycle_error)

    @property
    def has_novelty(self) -> bool:
        """Whether the novelty is a part of the uncertainty."""
        return bool(self.ensemble) and NOVELTY in kind_of(self.ensemble, self.noise_samples)

    @property
    def has_cycle_error(self) -> bool:
        """Whether the uncertainty is the cycle error."""
        return bool(self.ensemble) and kind_of(self.ensemble, self.noise_samples) == CYCLE

    @functools.cached_property
    def stainer(self) -> SliceStainer | UncertaintyStainer:
        """Stains the z chunks of the volume, from grey values as they are stored; with their uncertainty if asked."""
        about = self.config, self.intensity, str(self.volume.path)
        if self.ensemble:
            samples, planar = self.noise_samples, self.planar_colours
            return UncertaintyStainer(
                self.ensemble, *about, noise_samples=samples, compares_precisions=True, planar=planar
            )
        return SliceStainer(self.translator, *about, compares_precisions=True, planar=self.planar_colours)

    @functools.cached_property
    def stainer_with_uncertainty(self) -> UncertaintyStainer:
        """Stains grey values that are normalised, and computes the uncertainty."""
        source, planar = str(self.volume.path), self.planar_colours
        return UncertaintyStainer(
            self.ensemble, self.config, source=source, noise_samples=self.noise_samples, planar=planar
        )

    def report_precision(self) -> None:
        """Report how far the precision is from float32, if slices were compared and this was not reported yet."""
        if "stainer" in vars(self):  # not if no slice was stained
            self.stainer.report_precision()

    @property
    def has_noise(self) -> bool:
        """Whether a model has a noise input."""
        return any(each.has_noise for each in (self.translator, *self.ensemble))

    def position(self, index: int, axis: int = 0) -> SlicePosition:
        """Return where a slice lies in the volume, or in the volume that this is a region of."""
        return SlicePosition(self.volume.origin, axis, self.noise_seed).moved(index)

    @property
    def ct_slices(self) -> int:
        """Number of neighbouring slices that the models see at once."""
        return max(each.spec.ct_slices for each in (self.translator, *self.ensemble))

    @property
    def halo(self) -> int:
        """Number of slices beyond the ends of a chunk that the Gaussian filter needs."""
        return int(TRUNCATE * self.config.gaussian_sigma + 0.5)

    def provenance(self) -> dict[str, Any]:
        """Return the provenance stored with the stained volume: model, input, options; no dates, to be comparable.

        The keys are part of the file format: older names stay, so that volumes of older versions can be continued.
        """
        spec, reference = self.translator.spec, self.intensity
        options = self.config.model_dump(mode="json", exclude={"batch"})
        resampled = {} if self.resampling is None else {"resampled": self.resampling.to_dict()}
        noise = {"noise": {"seed": self.noise_seed, "origin": list(self.volume.origin)}} if self.has_noise else {}
        return {
            "model": {"hash": self.translator.hash, "recipe": spec.recipe, "steps": spec.steps, "stain": spec.stain},
            # The name alone: a volume that was moved is still the same input.
            "input": {
                "name": self.volume.path.name,
                "fingerprint": self.fingerprint(),
                **self.original_missing,
            },
            "levels": None if reference is None else {"background": reference.background, "bone": reference.bone},
            **self.report.to_dict(),
            **noise,
            **self.volume.region_record(),
            **resampled,
            "options": {"slab" if name == "z_chunk" else name: value for name, value in options.items()},
            "tomostain_version": __version__,
        }

    def uncertainty_provenance(self) -> dict[str, Any]:
        """Return the provenance stored with the uncertainty volume."""
        kind = kind_of(self.ensemble, self.noise_samples)
        about = {
            "map": kind,
            "white": {part: FULL_SCALE[part] for part in FULL_SCALE if part in kind},
            "models": [each.hash for each in self.ensemble],
        } | ({"noise_samples": self.noise_samples} if self.noise_samples > 1 else {})
        return self.provenance() | {"doubt": about}


def _resolved(config: StainConfig, translators: Sequence[Translator], volume: Volume, source: str) -> StainConfig:
    """Return the configuration resolved for the first model, and check that models and volume allow it."""
    first = translators[0]
    config = config.for_model(first.spec.patch_px, first.tile_invariant)
    config = config.model_copy(update={"precision": first.precision})
    if config.statistics == "volume":
        for each in translators:
            check_instance_norm(each.network)
    if config.planes != "z":
        check_isotropic(volume.voxel_um, source)
    return config


__getattr__ = renamed(
    __name__,
    {
        "Grey": "tomostain.stain.grey_chunks:Grey",
        "contexts_of": "tomostain.stain.grey_chunks:contexts_of",
        "filtered_chunk": "tomostain.stain.grey_chunks:filtered_chunk",
        "normalised_chunk": "tomostain.stain.grey_chunks:normalised_chunk",
        "with_volume_statistics": "tomostain.stain.job_statistics:with_volume_statistics",
    },
)
