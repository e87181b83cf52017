"""The µCT in the plane of a pose, on the pixels of the slide, and the score of the pose, fast enough for sliders."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from tomostain.geometry.plane_pose import BasePlane, PlanePose
from tomostain.geometry.section import Section
from tomostain.imaging.intensity import IntensityReference
from tomostain.imaging.intensity_estimation import manual_reference
from tomostain.imaging.slide_reference import shrink_slide
from tomostain.io import Slide, Volume
from tomostain.progress import Progress, silent
from tomostain.register.config import RegisterConfig
from tomostain.register.pose_confidence import DetailPoints, compare_at_points, detail_points
from tomostain.register.poses import Poses
from tomostain.register.preparation import prepare_search
from tomostain.register.refine import correlate, refine
from tomostain.register.resolution import ResolutionLevel
from tomostain.register.task import SearchTask
from tomostain.register.template_sampling import TemplatePicture

# Voxels along the longest side of the volume at which a pose is scored: as for the evidence of a registration.
_SCORE_SIDE = 128
# Pixels along the longest side of the picture of the slide, and of the live picture of the plane.
SLIDE_PX, PLANE_PX = 2048, 320
_SNAP_STEPS = 25
Float = NDArray[np.float64]


@dataclass(frozen=True)
class PoseScore:
    """Agreement of slide and µCT under a pose, as the search of `register` ranks poses.

    Attributes
    ----------
    correlation : float
        Correlation of the µCT with the template of the slide, -1 to 1.
    detail : float
        Correlation of the fine structure outside the screw, -1 to 1. High in the right plane only.
    overlap : float
        Fraction of the template inside the volume, 0 to 1.
    """

    correlation: float
    detail: float
    overlap: float

    @property
    def total(self) -> float:
        """Sum of correlation and detail, by which the search ranks poses."""
        return self.correlation + self.detail


@dataclass(frozen=True)
class PixelGrid:
    """Pixels on the slide.

    Attributes
    ----------
    shape : tuple of int
        (rows, columns).
    pixel_um : float
    first_um : float
        Position of the centre of the first pixel on the slide, equal for rows and columns, µm.
    """

    shape: tuple[int, int]
    pixel_um: float
    first_um: float

    def coarser(self, max_px: int) -> "PixelGrid":
        """Return a grid of the same area with at most `max_px` pixels along a side, or itself."""
        factor = max(self.shape) / max_px
        if factor <= 1:
            return self
        rows, columns = (max(2, int(n / factor)) for n in self.shape)
        return PixelGrid((rows, columns), self.pixel_um * factor, self.first_um + (factor - 1) / 2 * self.pixel_um)


@dataclass(frozen=True, eq=False)
class PosePreview:
    """A slide and a volume in memory, to look at poses.

    Attributes
    ----------
    task : SearchTask
        The volume and the slide at the resolution of the search.
    intensity : IntensityReference
        Grey values of background and bone.
    rgb : ndarray of uint8, shape (rows, columns, 3)
        Picture of the slide.
    grid : PixelGrid
        Its pixels.
    """

    task: SearchTask
    intensity: IntensityReference
    rgb: NDArray[np.uint8]
    grid: PixelGrid

    @classmethod
    def open(
        cls, volume: Volume, slide: Slide, config: RegisterConfig | None = None, progress: Progress = silent
    ) -> "PosePreview":
        """Read a volume and a slide.

        Parameters
        ----------
        volume : Volume
        slide : Slide
        config : RegisterConfig, optional
            As for the registration.
        progress : Progress

        Raises
        ------
        InputError
            As `tomostain.register.preparation.prepare_search`.
        """
        config = config or RegisterConfig()
        intensity = manual_reference(volume, config.ct_background, config.ct_bone, source=str(volume.path))
        task = prepare_search(volume, slide, intensity, config, progress=progress)
        rgb, pixel_um, first_um = shrink_slide(slide, max(slide.pixel_um, max(slide.shape) * slide.pixel_um / SLIDE_PX))
        return cls(task, intensity, rgb, PixelGrid((rgb.shape[0], rgb.shape[1]), pixel_um, first_um))

    @property
    def slide_middle_um(self) -> Float:
        """Middle of the tissue on the slide (row, column), µm."""
        return self.task.template.middle_um

    @property
    def volume_middle_um(self) -> Float:
        """Middle of the volume (z, y, x), µm."""
        return self.task.resolution.middle_um.double().numpy()

    @property
    def reach_um(self) -> float:
        """Half the diagonal of the volume, µm: a plane farther from the middle misses it."""
        return float(self.task.resolution.side_um.norm()) / 2

    def to_section(self, pose: PlanePose) -> Section:
        """Return a pose as a `Section`."""
        return pose.to_section(self.slide_middle_um, self.volume_middle_um)

    def to_pose(self, section: Section, base: BasePlane | None = None) -> PlanePose:
        """Return a `Section` as a pose; see `PlanePose.from_section`."""
        return PlanePose.from_section(section, self.slide_middle_um, self.volume_middle_um, base)

    def plane(self, section: Section, grid: PixelGrid | None = None) -> NDArray[np.float32]:
        """Interpolate the µCT in the plane of a pose, on pixels of the slide.

        Parameters
        ----------
        section : Section
        grid : PixelGrid, optional
            The pixels. None: those of the slide, but at most `PLANE_PX` along a side.

        Returns
        -------
        ndarray of float32, shape (rows, columns)
            Background 0, bone 1. NaN outside the volume.
        """
        return plane_on_slide(self.task.resolution, section, grid or self.grid.coarser(PLANE_PX))

    def score(self, section: Section) -> PoseScore:
        """Score a pose, for the material of the screw that fits best."""
        template = self.task.template
        pose = Poses.from_section(section, template.middle_um)
        count = len(template.hypotheses)
        poses = Poses.stack([pose] * count)
        poses = Poses(poses.centre_um, poses.rotation, poses.strain, torch.arange(count))
        correlation, overlap = correlate(self._coarse.resolution, self._coarse_picture, poses)
        best = int(correlation.argmax())
        detail = compare_at_points(self._coarse.resolution, self._points, poses[best : best + 1]).correlation
        return PoseScore(float(correlation[best]), float(detail.nan_to_num()[0]), float(overlap[best]))

    def snap(self, section: Section) -> Section:
        """Refine a pose from where it is to the next maximum of the correlation, at the resolution of the score."""
        template = self.task.template
        starts = [Poses.from_section(section, template.middle_um, i) for i in range(len(template.hypotheses))]
        coarse = self._coarse
        poses, scores = refine(
            coarse.resolution, self._coarse_picture, Poses.stack(starts), coarse.freedom, _SNAP_STEPS, device="cpu"
        )
        return poses.to_section(int(scores.argmax()), template.middle_um)

    @cached_property
    def _coarse(self) -> SearchTask:
        return self.task.coarser(_SCORE_SIDE)

    @cached_property
    def _coarse_picture(self) -> TemplatePicture:
        return self._coarse.picture

    @cached_property
    def _points(self) -> DetailPoints:
        return detail_points(self._coarse.resolution, self.task.template)


def plane_on_slide(resolution: ResolutionLevel, section: Section, grid: PixelGrid) -> NDArray[np.float32]:
    """Interpolate a volume in the plane of a section, on pixels of the slide.

    Parameters
    ----------
    resolution : ResolutionLevel
        On the CPU.
    section : Section
    grid : PixelGrid

    Returns
    -------
    ndarray of float32, shape (rows, columns)
        NaN outside the volume.
    """
    rows, columns = (np.arange(n) * grid.pixel_um + grid.first_um for n in grid.shape)
    corners = np.array([[rows[0], columns[0]], [rows[0] + 1, columns[0]], [rows[0], columns[0] + 1]])
    first, down, right = section.to_volume_um(section.slide_to_section_um(corners))
    voxel_um, origin_um = (x.double().numpy() for x in (resolution.voxel_um, resolution.origin_um))
    # The map is affine, so each axis is a sum of a row and a column.
    steps = ((down - first) / voxel_um, (right - first) / voxel_um)
    start = (first - origin_um) / voxel_um
    index = start + ((rows - rows[0])[:, None] * steps[0])[:, None] + ((columns - columns[0])[:, None] * steps[1])[None]
    last = np.array(resolution.values.shape) - 1
    inside = ((index >= -0.5) & (index <= last + 0.5)).all(axis=-1)
    # `grid_sample` takes (x, y, z) from -1, the centre of the first voxel, to 1, that of the last one.
    scaled = torch.from_numpy((index * (2.0 / np.maximum(last, 1)) - 1.0).astype(np.float32)).flip(-1)
    sampled = torch.nn.functional.grid_sample(
        resolution.values[None, None], scaled[None, None], mode="bilinear", padding_mode="border", align_corners=True
    )
    return np.where(inside, sampled[0, 0, 0].numpy(), np.float32(np.nan))


def seen_in_volume_um(section: Section, slide_um: Float) -> Float:
    """Return the points of the volume (N, 3) that the picture of the plane shows at slide points (N, 2), µm."""
    return section.to_volume_um(section.slide_to_section_um(slide_um))


def seen_on_slide_um(section: Section, volume_um: Float) -> tuple[Float, Float]:
    """Return where points of the volume (N, 3) are in the picture of the plane (N, 2), and their distance (N,), µm.

    The points are projected on the plane. The distance is along its normal, positive in its direction.
    """
    points = np.asarray(volume_um, dtype=np.float64).reshape(-1, 3)
    distance = (points - section.origin_um) @ section.normal
    return section.section_to_slide_um(section.from_volume_um(points)), np.asarray(distance)
