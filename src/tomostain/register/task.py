"""The constant part of a search: the volume, the template, what may move, and where to compute."""

from dataclasses import dataclass, replace

import torch

from tomostain.register.refine import Freedom
from tomostain.register.resolution import ResolutionLevel, coarser
from tomostain.register.template import Template
from tomostain.register.template_sampling import TemplatePicture


@dataclass(frozen=True, eq=False)
class SearchTask:
    """Where to look, what for, and how.

    Attributes
    ----------
    resolution : ResolutionLevel
        The volume at one resolution.
    template : Template
        The slide as µCT would show it.
    freedom : Freedom
        What may move and deform.
    device : str or torch.device
        Where to compute: see `tomostain.devices.choose_device`.
    candidates : int
        Number of poses that are refined at 64 voxels along the longest side of the volume.
    seed : int
        Seed of the random steps.
    """

    resolution: ResolutionLevel
    template: Template
    freedom: Freedom
    device: str | torch.device = "auto"
    candidates: int = 1200
    seed: int = 0

    @property
    def voxel_um(self) -> float:
        """Largest side of a voxel, µm."""
        return self.resolution.voxel_range_um[1]

    @property
    def side_um(self) -> float:
        """Longest side of the volume, µm."""
        return float(self.resolution.side_um.max())

    @property
    def picture(self) -> TemplatePicture:
        """The template at the resolution of the volume."""
        return self.template.picture(self.voxel_um)

    def coarser(self, voxels: int | float) -> "SearchTask":
        """Return the task with a volume of about so many voxels along its longest side."""
        return replace(self, resolution=coarser(self.resolution, self.side_um / (voxels - 1)))
