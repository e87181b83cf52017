"""The specimen as a function of position: what tissue lies where, at any resolution."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tomostain.phantom.bone import Microstructure, Tibia, grow_trabeculae
from tomostain.phantom.config import PhantomConfig
from tomostain.phantom.noise import Cells, Lattice
from tomostain.phantom.pose import Pose, draw_pose
from tomostain.phantom.sampler import Sampler
from tomostain.phantom.screw import Layer
from tomostain.phantom.tissue import Tissue

# Points are worked on in pieces that fit a processor's cache.
CHUNK = 1 << 15


@dataclass(frozen=True)
class Anatomy:
    """A specimen: all that was drawn from the seed. Made by `grow_anatomy`.

    Specimen coordinates are (z, y, x) µm about the screw's centre with its axis along z, its head at -z.
    """

    config: PhantomConfig
    pose: Pose
    tibia: Tibia
    micro: Microstructure
    layer: Layer
    slow: Lattice
    fast: Lattice
    trabeculae: Lattice
    adipocytes: Cells

    def sample(self, points_um: NDArray[np.floating], *, finest_um: float = 0.0) -> Tissue:
        """Say what lies at points.

        Parameters
        ----------
        points_um : ndarray, shape (..., 3)
            SPECIMEN coordinates (z, y, x), µm.
        finest_um : float
            Leave out what is smaller, µm, as an image of that voxel size would: lacunae above 12, lamellae above
            4. Bone without them has the mean of both. 0 leaves nothing out.

        Returns
        -------
        Tissue
            Arrays of shape (...).
        """
        shape = points_um.shape[:-1]
        flat = points_um.reshape(-1, 3)
        whole = Tissue.blank(len(flat))
        for start in range(0, len(flat), CHUNK):
            piece = slice(start, start + CHUNK)
            Sampler(self, flat[piece].astype(np.float32, copy=False), finest_um).write(whole, start)
        return Tissue(*(getattr(whole, name).reshape(shape) for name in ("label", "mineral", "youth", "fibre")))

    def sample_volume_points(self, points_um: NDArray[np.floating], *, finest_um: float = 0.0) -> Tissue:
        """Say what lies at points (..., 3) in VOLUME coordinates (z, y, x), µm; see `sample`."""
        return self.sample(self.pose.to_specimen(points_um), finest_um=finest_um)


def grow_anatomy(config: PhantomConfig) -> Anatomy:
    """Grow a specimen from its seed.

    The same seed gives the same bone around any material, so that materials can be compared.

    Parameters
    ----------
    config : PhantomConfig
        Seed, material, weeks, orientation and the volume's size are used.

    Returns
    -------
    Anatomy
    """
    rng = np.random.default_rng([config.seed, 1])
    tibia = Tibia.grow(rng)
    return Anatomy(
        config=config,
        pose=draw_pose(config),
        tibia=tibia,
        micro=Microstructure.grow(rng, tibia),
        layer=Layer.grow(rng, config.material, config.weeks),
        slow=Lattice.random(rng, 8, 64, 95.0, smooth=1.8),
        fast=Lattice.random(rng, 4, 64, 18.0),
        trabeculae=grow_trabeculae(rng),
        adipocytes=Cells.random(rng, (32, 32, 32), 78.0, margin=0.08),
    )
