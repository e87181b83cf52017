"""Textures of the phantom next to real ones: H&E tiles with bone, and µCT slices of trabecular bone.

    python -m studies.phantom_vs_real SHARED_DATA OUT.png

SHARED_DATA holds `bone_he/` and `trabecular_bone/`. The figure also shows histograms and radially averaged spectra.
"""

import argparse
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomostain.geometry.section import Section, grid_um
from tomostain.io import open_volume, read_image
from tomostain.phantom import LaboratoryConfig, PhantomConfig, TomographyConfig, grow_anatomy
from tomostain.phantom.histology import stain_points, to_rgb
from tomostain.phantom.materials import attenuation_table
from tomostain.phantom.pose import section_through_screw
from tomostain.phantom.sampler import sample_tissue
from tomostain.phantom.tomography import instrument

TILE_PX = 512
SLICE_PX = 140
SEEDS = (3, 5)


def stained_tiles() -> list[NDArray[np.uint8]]:
    """Return H&E of two specimens at the border of marrow and bone, 512 px of 1 µm."""
    tiles = []
    for seed in SEEDS:
        config = PhantomConfig(seed=seed, stain="h&e", orientation="lying", laboratory=LaboratoryConfig.perfect())
        anatomy = grow_anatomy(config)
        section, _ = section_through_screw(config, anatomy.pose)
        corner = np.array([1350.0, 700.0])
        transmission, _ = stain_points(anatomy, section, grid_um((TILE_PX, TILE_PX), 1.0) + corner, 1.0)
        tiles.append(to_rgb(transmission))
    return tiles


def trabecular_slices(voxel_um: float, side: int) -> list[NDArray[np.float32]]:
    """Return µCT slices of the spongy part of two specimens, away from the screw."""
    slices = []
    for seed in SEEDS:
        config = PhantomConfig(seed=seed, shape=(8, side, side), voxel_um=voxel_um, orientation="upright")
        anatomy = grow_anatomy(config)
        points = grid_um((side, side), voxel_um)
        deep = Section(np.array([-700.0, 1300.0, -side * voxel_um / 2]), np.array([1.0, 0, 0]), np.array([0, 0, 1.0]))
        tissue = sample_tissue(anatomy, deep.to_volume_um(points), finest_um=voxel_um)
        table = attenuation_table(35.0, config.material)
        mu = table.of(tissue)[None]
        rng = np.random.default_rng(seed)
        off = TomographyConfig(streaks=0.0)
        slices.append(instrument(mu, np.zeros(mu.shape, bool), table.bone, voxel_um, off, rng)[0])
    return slices


def power(image: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return frequency (cycles per pixel) and radially averaged power of a grey image, normalised to its variance."""
    grey = image - image.mean()
    window = np.outer(np.hanning(grey.shape[0]), np.hanning(grey.shape[1]))
    spectrum = np.abs(np.fft.fft2(grey * window)) ** 2
    f = np.hypot(np.fft.fftfreq(grey.shape[0])[:, None], np.fft.fftfreq(grey.shape[1])[None, :])
    bins = np.linspace(0.005, 0.5, 60)
    number = np.digitize(f.ravel(), bins)
    mean = ndimage.mean(spectrum.ravel(), number, np.arange(1, len(bins)))
    return (bins[1:] + bins[:-1]) / 2, np.asarray(mean) / spectrum.sum()


def scaled(image: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return grey values from the 1st to the 99.5th percentile as 0 to 1."""
    low, high = np.percentile(image, [1, 99.5])
    return np.clip((image - low) / (high - low), 0, 1)


def draw(real_he: list, fake_he: list, real_ct: list, fake_ct: list, out: Path) -> None:
    """Draw the figure: images in four columns, histograms and spectra in two more."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 6, figsize=(17, 5.6), constrained_layout=True)
    for row, (fakes, reals, what) in enumerate(((fake_he, real_he, "H&E"), (fake_ct, real_ct, "µCT"))):
        for column, (image, name) in enumerate([(i, "phantom") for i in fakes] + [(i, "real") for i in reals]):
            axes[row, column].imshow(image, cmap="gray", interpolation="nearest")
            axes[row, column].set_title(f"{what}, {name}", fontsize=10)
            axes[row, column].axis("off")
        for images, name, colour in ((fakes, "phantom", "tab:purple"), (reals, "real", "tab:gray")):
            for image in images:
                grey = image.mean(axis=-1) / 255 if image.ndim == 3 else image
                axes[row, 4].hist(grey.ravel(), bins=60, range=(0, 1), density=True, histtype="step", color=colour)
                axes[row, 5].loglog(*power(grey), color=colour)
            axes[row, 4].plot([], color=colour, label=name)
        axes[row, 4].set(xlabel="grey value", yticks=[])
        axes[row, 4].legend(frameon=False)
        axes[row, 5].set(xlabel="cycles / px", ylabel="share of the power")
    figure.savefig(out, dpi=80)


def main() -> None:
    """Read the real images, make those of the phantom, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path, metavar="SHARED_DATA")
    parser.add_argument("out", type=Path, metavar="OUT.png")
    arguments = parser.parse_args()
    names = sorted((arguments.shared / "bone_he").glob("*.jpg"))
    real_he = [read_image(names[i])[:TILE_PX, :TILE_PX] for i in (1, 3)]
    volume = open_volume(arguments.shared / "trabecular_bone", voxel_um=19.5)
    real_ct = [scaled(volume.read(z, z + 1)[0, :SLICE_PX, :SLICE_PX].astype(np.float32)) for z in (60, 140)]
    fake_ct = [scaled(image) for image in trabecular_slices(19.5, SLICE_PX)]
    draw(real_he, stained_tiles(), real_ct, fake_ct, arguments.out)


if __name__ == "__main__":
    main()
