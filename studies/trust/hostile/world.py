"""Good inputs that the commands need: a model, a dataset, a run, a stained volume, a specimen; and a secret outside."""

import contextlib
import io
import shutil
from pathlib import Path

import numpy as np

from studies.trust.hostile.case import VOXEL_UM, slide_values, volume_values


def make_world(folder: Path) -> None:
    """Write the good inputs."""
    import tifffile

    from tests.support.toys import toy_model
    from tests.support.training import toy_pair, toy_recipe
    from tomostain.cli.main import run
    from tomostain.dataset.writer import save_dataset
    from tomostain.imaging.intensity import IntensityReference
    from tomostain.stain import stain_volume
    from tomostain.train import train_model

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    toy_model(folder / "model", voxel_um=VOXEL_UM)
    tifffile.imwrite(folder / "volume.tif", volume_values(), photometric="minisblack", metadata=None)
    levels = IntensityReference(background=10000.0, bone=30000.0)
    stain_volume(
        folder / "model",
        folder / "volume.tif",
        folder / "stained.ome.zarr",
        voxel_um=VOXEL_UM,
        intensity=levels,
        device="cpu",
    )
    pairs = [toy_pair(name, seed) for seed, name in enumerate("abcd")]
    save_dataset(folder / "dataset", pairs, test=["d"], folds=[["a"], ["b"]])
    (folder / "recipe.yaml").write_text(toy_recipe().to_yaml())
    train_model(folder / "dataset", folder / "run", recipe=toy_recipe(), max_steps=3, device="cpu")
    quiet = io.StringIO()
    with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
        code = run(["-q", "phantom", str(folder / "specimen"), "--size", "48", "--voxel-um", "60", "--pixel-um", "30"])
    if code:
        raise RuntimeError(quiet.getvalue())


def make_outside(folder: Path) -> None:
    """Write the files that no hostile input may reach."""
    import h5py
    import tifffile
    import zarr

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    values = volume_values()
    (folder / "secret.raw").write_bytes(values.tobytes())
    (folder / "secret.txt").write_text("secret\n" * 100)
    (folder / "secret.yaml").write_text("secret: true\n")
    tifffile.imwrite(folder / "secret.tif", values)
    tifffile.imwrite(folder / "secret.png.tif", slide_values())
    with h5py.File(folder / "secret.h5", "w") as file:
        file["data"] = values
    zarr.create_array(folder / "secret.zarr", shape=values.shape, dtype="u2", zarr_format=2)[...] = values
    np.savetxt(folder / "secret.csv", np.eye(3), delimiter=",")
