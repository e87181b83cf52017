"""The preview of the Stain widget: a slice or an oblique plane, with model and volume in memory."""

import threading
from dataclasses import dataclass, fields, replace

import numpy as np

from tomostain.errors import InputError
from tomostain.geometry.plane_pose import PlanePose
from tomostain.geometry.section import plane_in_box
from tomostain.geometry.surfaces import Cut
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
    """Computes previews in a thread. The model and the volume used last stay in memory.

    Several threads may use it: one computes, the others wait.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._model: tuple[tuple[object, ...], Translator] | None = None
        self._preview: tuple[tuple[object, ...], StainPreview] | None = None

    def compute(self, request: PreviewRequest) -> PreviewResult:
        """Return the preview of a request.

        Raises
        ------
        tomostain.errors.InputError
            If model, volume and options do not fit.
        """
        with self._lock:
            return self._compute(request)

    def _compute(self, request: PreviewRequest) -> PreviewResult:
        preview = self._open(request.settings)
        volume = preview.job.volume
        if request.pose is not None:
            z, y, x = ((n - 1) * step for n, step in zip(volume.shape, volume.voxel_um, strict=True))
            cut = pose_cut(request.pose, (z, y, x), preview.job.translator.spec.voxel_um)
            return PreviewResult(request, preview, preview.plane(cut), 0)
        position = request.position_um[request.axis] / volume.voxel_um[request.axis]
        index = min(max(round(position), 0), volume.shape[request.axis] - 1)
        return PreviewResult(request, preview, preview.slice(index, request.axis), index)

    def translator(self, request: StainRequest) -> Translator:
        """Return the model of a request, loaded once."""
        key = (request.model, request.device, request.config.precision)
        with self._lock:
            if self._model is None or self._model[0] != key:
                self._model = None  # the memory of the old one is freed before the new one is loaded
                self._model = key, request.load_model()
            return self._model[1]

    def _open(self, settings: StainSettings) -> StainPreview:
        request, volume = settings.request, settings.volume
        key = (volume.key, *shown_options(request))
        if self._preview is None or self._preview[0] != key:
            model = self.translator(request)
            self._preview = key, open_preview(replace(settings.opened(), model=model))
        return self._preview[1]


_NOT_SHOWN = {
    "volume", "out", "uncertainty", "ensemble", "noise_samples", "intensity_figure", "overwrite", "resume"
}  # fmt: skip
"""The fields of a request that do not change a preview. The volume has a key of its own."""


def shown_options(request: StainRequest) -> tuple[object, ...]:
    """Return the values of a request on which the preview depends: all fields but those of the output."""
    return tuple(getattr(request, each.name) for each in fields(request) if each.name not in _NOT_SHOWN)


def pose_cut(pose: PlanePose, size_um: tuple[float, float, float], pixel_um: float) -> Cut:
    """Return the pixels of an oblique plane, with rows and columns as Register shows them.

    Parameters
    ----------
    pose : PlanePose
    size_um : tuple of float
        Size of the volume from the centre of the first voxel to the centre of the last one (z, y, x), µm.
    pixel_um : float

    Raises
    ------
    InputError
        If the plane misses the volume.
    """
    middle = np.array(size_um) / 2 + pose.offset_um * pose.normal
    corners = plane_in_box(middle, pose.normal, size_um)
    if len(corners) == 0:
        raise InputError(f"the plane with offset {pose.offset_um:g} µm misses the volume", parameter="offset")
    down, right = pose.rotation[:, 0], pose.rotation[:, 1]
    rows, columns = (_pixels((corners - middle) @ axis, pixel_um) for axis in (down, right))
    places = middle + rows[:, None, None] * down + columns[None, :, None] * right
    return Cut(places, np.broadcast_to(pose.normal, places.shape), pixel_um)


def _pixels(reach_um: np.ndarray, pixel_um: float) -> np.ndarray:
    """Return the positions of pixels between the smallest and the largest of some positions, µm."""
    count = 1 + max(int(np.floor((reach_um.max() - reach_um.min()) / pixel_um + 1e-6)), 0)
    return reach_um.min() + pixel_um * np.arange(count)
