"""The preview of the Stain widget: a slice or an oblique plane, with model and volume kept in memory."""

from dataclasses import dataclass, replace

import numpy as np

from tomostain.geometry.plane_pose import PlanePose
from tomostain.geometry.surfaces import plane_cut
from tomostain.napari.stain_settings import StainSettings
from tomostain.stain import StainRequest
from tomostain.stain.preview import StainedPlane, StainPreview, open_preview
from tomostain.stain.translator import Translator


@dataclass(frozen=True)
class PreviewRequest:
    """What to preview.

    Attributes
    ----------
    settings : StainSettings
    position_um : tuple of float
        Point in the volume (z, y, x), µm from its first voxel.
    axis : int
        Of the slice; of a plane it has no effect.
    pose : PlanePose or None
        The oblique plane; None for a slice.
    """

    settings: StainSettings
    position_um: tuple[float, float, float]
    axis: int = 0
    pose: PlanePose | None = None


@dataclass(frozen=True)
class PreviewResult:
    """What was computed: the request, the model and volume it needed, and the plane."""

    request: PreviewRequest
    preview: StainPreview
    plane: StainedPlane
    index: int


class PreviewCache:
    """Computes previews in a thread. The model and the volume used last stay in memory."""

    def __init__(self) -> None:
        self._model: tuple[tuple[object, ...], Translator] | None = None
        self._preview: tuple[tuple[object, ...], StainPreview] | None = None

    def compute(self, request: PreviewRequest) -> PreviewResult:
        """Return the preview of a request.

        Raises
        ------
        tomostain.errors.InputError
            If model, volume and options do not fit.
        """
        preview = self._open(request.settings)
        volume = preview.job.volume
        if request.pose is not None:
            size = [(n - 1) * step for n, step in zip(volume.shape, volume.voxel_um, strict=True)]
            z, y, x = size
            middle = np.array(size) / 2 + request.pose.offset_um * request.pose.normal
            cut = plane_cut(middle, request.pose.normal, (z, y, x), preview.job.translator.spec.voxel_um)
            return PreviewResult(request, preview, preview.plane(cut), 0)
        position = request.position_um[request.axis] / volume.voxel_um[request.axis]
        index = min(max(round(position), 0), volume.shape[request.axis] - 1)
        return PreviewResult(request, preview, preview.slice(index, request.axis), index)

    def translator(self, request: StainRequest) -> Translator:
        """Return the model of a request, loaded once."""
        key = (request.model, request.device, request.config.precision)
        if self._model is None or self._model[0] != key:
            self._model = None  # the memory of the old one is freed before the new one is loaded
            self._model = key, request.load_model()
        return self._model[1]

    def _open(self, settings: StainSettings) -> StainPreview:
        request, volume = settings.request, settings.volume
        options = (request.config, request.intensity, request.resample, request.allow_voxel_mismatch)
        key = (request.model, request.device, volume.key, *options, request.noise_seed)
        if self._preview is None or self._preview[0] != key:
            model = self.translator(request)
            self._preview = key, open_preview(replace(settings.opened(), model=model))
        return self._preview[1]
