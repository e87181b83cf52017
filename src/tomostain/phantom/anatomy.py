"""The data of a specimen, drawn from its seed. `sample_tissue` evaluates it at points."""

from dataclasses import dataclass

import numpy as np

from tomostain.phantom.bone import Microstructure, Tibia, grow_trabeculae
from tomostain.phantom.config import PhantomConfig
from tomostain.phantom.noise import Cells, Lattice
from tomostain.phantom.pose import Pose, draw_pose
from tomostain.phantom.screw import ScrewLayer


@dataclass(frozen=True)
class Anatomy:
    """Everything that was drawn from the seed of a specimen. Made by `grow_anatomy`.

    Specimen coordinates are (z, y, x), µm, relative to the centre of the screw. Its axis is along z, its head at -z.
    """

    config: PhantomConfig
    pose: Pose
    tibia: Tibia
    micro: Microstructure
    layer: ScrewLayer
    slow: Lattice
    fast: Lattice
    trabeculae: Lattice
    adipocytes: Cells


def grow_anatomy(config: PhantomConfig) -> Anatomy:
    """Grow a specimen from its seed.

    The same seed gives the same bone around each material, so that materials can be compared.

    Parameters
    ----------
    config : PhantomConfig
        Seed, material, weeks, orientation and size of the volume are used.

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
        layer=ScrewLayer.grow(rng, config.material, config.weeks),
        slow=Lattice.random(rng, 8, 64, 95.0, smooth=1.8),
        fast=Lattice.random(rng, 4, 64, 18.0),
        trabeculae=grow_trabeculae(rng),
        adipocytes=Cells.random(rng, (32, 32, 32), 78.0, margin=0.08),
    )
