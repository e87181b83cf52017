"""Stain single slices and oblique planes of a volume, to look at them before the whole volume is stained."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.geometry.sampling import sample_section
from tomostain.geometry.surfaces import Cut
from tomostain.imaging.gaussian import gaussian_filter_3d
from tomostain.imaging.intensity import normalise_ct
from tomostain.imaging.network_range import CT_BACKGROUND
from tomostain.ood import VolumeReport, share_sentence
from tomostain.stain.grey_chunks import Grey, contexts_of
from tomostain.stain.job import StainJob
from tomostain.stain.job_statistics import with_volume_statistics
from tomostain.stain.request import StainRequest
from tomostain.stain.slices import stain_slice
from tomostain.stain.voxel_size_check import warn_of_stretched_slices
from tomostain.tiling.noise import SlicePosition
from tomostain.tiling.slice_context import clip_slices, repeat_ends


@dataclass(frozen=True, eq=False)
class StainedPlane:
    """A plane of a volume with its stain.

    Attributes
    ----------
    ct : ndarray of float32, shape (rows, columns)
        Grey values as stored; NaN outside the volume.
    rgb : ndarray of uint8, shape (rows, columns, 3)
        Its colours; white outside the volume.
    pixel_um : tuple of float
        Size of a pixel (row, column), µm.
    """

    ct: NDArray[np.float32]
    rgb: NDArray[np.uint8]
    pixel_um: tuple[float, float]


@dataclass(frozen=True, eq=False)
class StainPreview:
    """A model and a volume that are ready to stain single planes; made by `open_preview`.

    Attributes
    ----------
    job : StainJob
        Model, volume, options and intensity reference.
    """

    job: StainJob

    @property
    def report(self) -> VolumeReport:
        """How far the volume is from the training data."""
        return self.job.report

    @property
    def novelty(self) -> str:
        """The sentence that states how much of the volume is novel; "" if the model cannot say it."""
        share = self.report.novel_share
        return "" if share is None else share_sentence(share)

    def slice(self, index: int, axis: int = 0) -> StainedPlane:
        """Stain one slice, as the volume is stained along this axis.

        Parameters
        ----------
        index : int
            Number of the slice.
        axis : int
            0 for slices along z, 1 along y, 2 along x.

        Raises
        ------
        InputError
            If there is no such slice.
        """
        volume = self.job.volume
        if axis not in (0, 1, 2) or not 0 <= index < volume.shape[axis]:
            raise InputError(f"{volume.path}: has no slice {index} along axis {axis}; its shape is {volume.shape}")
        rows, columns = (size for number, size in enumerate(volume.voxel_um) if number != axis)
        if axis == 0:
            context = contexts_of(self.job, index, index + 1)[0]
            ct = volume.read(index, index + 1)[0]
        else:
            model_um = self.job.translator.spec.voxel_um
            warn_of_stretched_slices(volume.voxel_um, model_um, axis, str(volume.path))
            planes, ct = self._planes(index, axis)
            context = self._normalised(planes if len(planes) > 1 else planes[0])
        position = self.job.position(index, axis)
        return StainedPlane(ct.astype(np.float32), self._stained(context, position), (rows, columns))

    def plane(self, cut: Cut) -> StainedPlane:
        """Stain an oblique plane or a curved surface, resampled with the pixel size of the section.

        The 3D Gaussian of the options is not applied. The noise of a model that has a noise input is that of a slice.

        Parameters
        ----------
        cut : Cut
            Such as of `tomostain.geometry.surfaces.plane_cut`.
        """
        volume = self.job.volume
        images = []
        for shift in self._shifts:
            moved = replace(cut, places_um=cut.places_um + shift * cut.pixel_um * cut.normals)
            images.append(sample_section(volume.block, volume.shape, volume.voxel_um, moved, 0.0, "colour")[..., 0])
        ct = images[len(images) // 2]
        outside = np.isnan(ct)
        context = self._normalised(np.stack(images) if len(images) > 1 else ct)
        context[np.isnan(context)] = CT_BACKGROUND
        rgb = self._stained(context, SlicePosition(seed=self.job.noise_seed))
        rgb = np.where(outside[..., None], np.uint8(255), rgb)
        return StainedPlane(ct, rgb, (cut.pixel_um, cut.pixel_um))

    @property
    def _shifts(self) -> range:
        """Shifts of the neighbouring slices that the model sees."""
        half = self.job.ct_slices // 2
        return range(-half, half + 1)

    def _planes(self, index: int, axis: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the slices across an axis that the model sees, filtered as the volume is, and the one as stored."""
        job, depth, half = self.job, self.job.volume.shape[axis], self.job.ct_slices // 2
        start, stop, repeat = clip_slices(index - half, index + half + 1, depth)
        first, end = [0, 0, 0], list(job.volume.shape)
        first[axis], end[axis] = max(0, start - job.halo), min(depth, stop + job.halo)
        block = np.asarray(job.volume.block(first, end))
        filtered = gaussian_filter_3d(block, job.config.gaussian_sigma) if job.halo else block
        planes = np.moveaxis(filtered, axis, 0)[start - first[axis] : stop - first[axis]]
        return repeat_ends(planes, repeat), np.moveaxis(block, axis, 0)[index - first[axis]]

    def _normalised(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Return grey values as the model sees them. NaN stays NaN."""
        if self.job.intensity is None:
            return values.astype(np.float32)
        inside = (
            np.where(np.isnan(values), self.job.intensity.background, values) if values.dtype.kind == "f" else values
        )
        normalised = normalise_ct(inside, self.job.intensity).astype(np.float32)
        if values.dtype.kind == "f":
            normalised[np.isnan(values)] = np.nan
        return normalised

    def _stained(self, context: Grey, position: SlicePosition) -> NDArray[np.uint8]:
        config = self.job.config
        if config.statistics == "volume" and not self.job.translator.has_volume_statistics:
            raise InputError("preview: the statistics of the volume are missing; open the preview again")
        return stain_slice(self.job.translator, context, config, position)


def open_preview(request: StainRequest) -> StainPreview:
    """Load model and volume, and find the intensity reference, to stain single planes.

    Parameters
    ----------
    request : StainRequest
        Without `out`. With a loaded model, it is not loaded again.

    Returns
    -------
    StainPreview

    Raises
    ------
    InputError
        If model, volume and options do not fit.
    """
    job = StainJob.open(request)
    return StainPreview(with_volume_statistics(job, None) if job.config.statistics == "volume" else job)
