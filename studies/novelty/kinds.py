"""Volumes that a model may or may not know: its own kind, and kinds that differ from it in one way.

    python -m studies.novelty.kinds T1 OUT

T1 is where `studies.table1.data` has made specimens and data sets (edition cpu). OUT gets one ``NAME.npz`` per kind:
``slices`` (volumes, 8, Y, X), normalised as `tomostain stain` normalises a volume. About 3 minutes of processor time.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from studies.table1.data import FIRST_SEED
from studies.table1.editions import EDITIONS, materials, specimen_values
from tomostain.imaging.intensity import normalise_ct
from tomostain.imaging.intensity_estimation import volume_reference
from tomostain.io import Volume, open_volume
from tomostain.io.volumes.base import VolumeLike
from tomostain.ood.grey_values import sample_slices
from tomostain.phantom import PhantomConfig
from tomostain.phantom.anatomy import grow_anatomy
from tomostain.phantom.noise import Lattice
from tomostain.phantom.tomography import projection_noise, ring_pattern, tomograph

Slices = NDArray[np.float32]
EDITION = EDITIONS["cpu"]
STEP = 20000.0
# Seeds that no data set uses.
NEW_SEED = 9100
TOMOGRAPHY: dict[str, dict[str, Any]] = {
    "noise x1.5": {"noise": 0.045},
    "noise x2": {"noise": 0.06},
    "noise x3": {"noise": 0.09},
    "rings x4": {"rings": 0.05},
    "rings x8": {"rings": 0.1},
    "streaks x5": {"streaks": 0.15},
    "blur 1.5 px": {"blur": 1.5},
    "blur 2.5 px": {"blur": 2.5},
}
VOXELS_UM = (10.0, 14.0, 30.0, 40.0)
ZOOMS = (0.5, 0.7, 1.5, 2.0)


def normalised(volume: VolumeLike, source: str) -> Slices:
    """Return eight slices of a volume as `tomostain stain` checks them."""
    return normalise_ct(sample_slices(volume, None), volume_reference(volume, source=source)).astype(np.float32)


def grown(seed: int, number: int, **changes: Any) -> Slices:
    """Return slices of a new specimen, of the material and age of specimen `number` of the edition."""
    values = specimen_values(EDITION, number, FIRST_SEED) | {"seed": seed} | changes
    volume, _ = tomograph(grow_anatomy(PhantomConfig.from_dict(values)))
    um = float(values["voxel_um"])
    return normalised(Volume.from_array(volume, voxel_um=um, name=f"seed {seed}"), f"seed {seed}, {changes}")


def zoomed(slices: Slices, factor: float) -> Slices:
    """Return slices resampled in the plane as if their voxels were `1 / factor` as large as they are."""
    source = ndimage.gaussian_filter(slices, (0, *2 * [0.5 / factor if factor < 1 else 0])) if factor < 1 else slices
    large = ndimage.zoom(source, (1, factor, factor), order=1)
    height, width = (min(side, 256) for side in large.shape[1:])
    top, left = (large.shape[1] - height) // 2, (large.shape[2] - width) // 2
    return large[:, top : top + height, left : left + width].astype(np.float32)


def foam(seed: int, cell_um: float, share: float) -> Slices:
    """Return slices of a porous structure without cortex or screw, at bone's and marrow's grey values.

    A thresholded smooth random field, scanned with the noise, rings and blur of the phantoms: a tissue of another
    architecture that shares only the grey values with the training data.
    """
    rng, side = np.random.default_rng([seed, 77]), 256
    lattice = Lattice.random(rng, 1, 40, cell_um / 5)
    plane = np.stack(np.meshgrid(*2 * [np.arange(side) * EDITION.voxel_um], indexing="ij"), axis=-1).reshape(-1, 2)
    slices = []
    for z in np.arange(8) * 150.0:
        points = np.concatenate([np.full((len(plane), 1), z), plane], axis=1).astype(np.float32)
        field = lattice.sample(points)[0].reshape(side, side)
        bone = (field < np.quantile(field, share)).astype(np.float32)
        grey = ndimage.gaussian_filter(
            0.12 + 0.88 * bone + 0.02 * lattice.sample(points * 3)[0].reshape(side, side), 0.7
        )
        grey += 0.035 * projection_noise((side, side), rng) + 0.012 * ring_pattern((1, side, side), rng)[0]
        slices.append(10000 + STEP * grey)
    return np.stack(slices).astype(np.float32)


def kinds(t1: Path) -> Iterator[tuple[str, Callable[[], Sequence[Slices]]]]:
    """Yield the name of each kind and a function that makes its volumes."""
    numbers = range(EDITION.specimens)

    def specimens(names: Sequence[int]) -> list[Slices]:
        return [normalised(open_volume(t1 / "specimens" / f"p{i:02d}" / "volume"), f"p{i:02d}") for i in names]

    test_numbers = [i for i in numbers if i >= EDITION.specimens - EDITION.test]
    yield "own: specimens of training", lambda: specimens(numbers[: -EDITION.test])
    yield "own: test specimens", lambda: specimens(test_numbers)
    specimen_numbers = (0, 1, 2, 5)
    yield "own: new seeds", lambda: [grown(NEW_SEED + n, number) for n, number in enumerate(specimen_numbers)]
    yield (
        "own: another scanner",
        lambda: [
            grown(NEW_SEED + 20 + n, number, tomography={"energy_kev": 32.0 + 3 * n, "noise": 0.03 + 0.004 * n})
            for n, number in enumerate(specimen_numbers[:3])
        ],
    )
    for name, tomography in TOMOGRAPHY.items():
        yield (
            name,
            lambda tomography=tomography: [
                grown(NEW_SEED + 40 + number, number, tomography=tomography) for number in (0, 1, 2)
            ],
        )
    for um in VOXELS_UM:
        yield (
            f"voxels of {um:g} µm",
            lambda um=um: [grown(NEW_SEED + 60 + number, number, voxel_um=um, pixel_um=um / 2) for number in (0, 1, 2)],
        )
    test = test_numbers[:4]
    for factor in ZOOMS:
        yield f"resampled x{factor:g}", lambda factor=factor: [zoomed(each, factor) for each in specimens(test)]
    for cell_um, share in ((250.0, 0.25), (500.0, 0.25), (900.0, 0.4)):
        yield f"foam {cell_um:g} µm", lambda c=cell_um, s=share: [foam(seed, c, s) for seed in (1, 2)]
    for material in sorted(set(materials(EDITION.specimens))):
        of = [i for i in numbers if materials(EDITION.specimens)[i] == material]
        yield f"material {material}", lambda of=of: specimens(of)


def main() -> None:
    """Write the slices of every kind that is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("t1", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name, make in kinds(options.t1):
        path = options.out / f"{name.replace(': ', ' - ')}.npz"
        if not path.is_file():
            volumes = make()
            np.savez(path, **{f"v{n:02d}": volume for n, volume in enumerate(volumes)})
            print(f"{name}: {len(volumes)} volumes of {volumes[0].shape}", flush=True)


if __name__ == "__main__":
    main()
