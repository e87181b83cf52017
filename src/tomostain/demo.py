"""The whole way on phantoms: specimens, dataset, training, staining, evaluation, and one page that shows it.

Every step leaves a folder and is skipped when the folder is there, so a repeat continues instead of starting over.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tomostain.config import Config
from tomostain.errors import InputError
from tomostain.io.atomic import write_text
from tomostain.progress import Progress, silent, track

if TYPE_CHECKING:
    from tomostain.evaluate import Table

HELD_OUT = "held-out"


class DemoSpecimen(Config):
    """One specimen of the demo: its name, the implant and the weeks of healing."""

    id: str
    material: str
    weeks: int
    seed: int


def _specimens() -> tuple[DemoSpecimen, ...]:
    # No PEEK: it is as dark in the µCT as marrow and black in the histology, which takes many specimens to tell apart.
    kinds = [("Mg-10Gd", 8), ("Mg-5Gd", 12), ("Ti", 8), ("Mg-10Gd", 4), ("Mg-5Gd", 8)]
    grown = [
        DemoSpecimen(id=f"{material}-{weeks}w", material=material, weeks=weeks, seed=11 + number)
        for number, (material, weeks) in enumerate(kinds)
    ]
    return (*grown, DemoSpecimen(id=HELD_OUT, material="Mg-10Gd", weeks=8, seed=99))


class DemoConfig(Config):
    """What the demo grows and how long it learns.

    Attributes
    ----------
    shape : tuple of int
        Voxels of each µCT volume (z, y, x). The screw lies along y, so that a slice shows it lengthwise.
    voxel_um, pixel_um : float
        Voxel size of the µCT and pixel size of the slides, µm.
    specimens : tuple of DemoSpecimen
        The last one is kept out of training; its volume is stained.
    recipe : str
        Training recipe.
    steps : int
        Training steps.
    patch_px, stride_px : int
        Patches when staining. Larger than in training, so that hardly one holds nothing but marrow, where instance
        normalisation would have nothing to go by.
    truth_slices : int
        How many slices of the stained volume are compared with the truth.
    find_sections : bool
        Find the section of each slide in its volume, as `tomostain register` does, instead of being told. Off only
        where a phantom is too small to be searched.
    seed : int
        Seed of training.
    """

    shape: tuple[int, int, int] = (64, 256, 256)
    voxel_um: float = 20.0
    pixel_um: float = 10.0
    specimens: tuple[DemoSpecimen, ...] = _specimens()
    recipe: str = "paired-cyclegan-cpu"
    steps: int = 900
    patch_px: int = 192
    stride_px: int = 64
    truth_slices: int = 9
    find_sections: bool = True
    seed: int = 0


@dataclass(frozen=True)
class DemoResult:
    """Where the demo left everything.

    Attributes
    ----------
    folder, dataset, run, model, stained, report : Path
        The demo's folder and what is in it.
    table : Table
        The stained volume of the held-out specimen against its truth, with the floors.
    """

    folder: Path
    dataset: Path
    run: Path
    model: Path
    stained: Path
    report: Path
    table: "Table"


def run_demo(out: Path, config: DemoConfig | None = None, *, progress: Progress = silent) -> DemoResult:
    """Go the whole way on phantoms.

    Parameters
    ----------
    out : Path
        Folder. If a demo with the same settings was begun there, it continues.
    config : DemoConfig, optional
        Settings.
    progress : Progress
        Listener.

    Returns
    -------
    DemoResult

    Raises
    ------
    InputError
        If `out` holds something else, or a demo with other settings.
    """
    from tomostain.pages import demo_page
    from tomostain.stain import StainConfig, stain_volume
    from tomostain.train import train

    config = config or DemoConfig()
    out = Path(out)
    _claim(out, config)
    dataset = _dataset(out, _study(out, config, progress), config, progress)
    run = out / "run"
    options: dict[str, Any] = {"recipe": config.recipe, "fold": 0, "seed": config.seed, "max_steps": config.steps}
    if not (run / "model").is_dir():
        train(dataset, run, **options, resume=(run / "last").exists(), overwrite=True, progress=progress)
    model, stained = run / "model", out / "stained.ome.zarr"
    if not _is_whole(stained):
        volume = out / "specimens" / HELD_OUT / "volume"
        settings = StainConfig(patch_px=config.patch_px, stride_px=config.stride_px, blend="hann")
        stain_volume(model, volume, stained, config=settings, progress=progress)
    slices = compare_slices(out, config, progress)
    table = evaluate_against_truth(slices, dataset, fold=0)
    report = demo_page(out, config, slices, table, progress)
    return DemoResult(out, dataset, run, model, stained, report, table)


def _claim(out: Path, config: DemoConfig) -> None:
    """Make the folder ours, or make sure that it holds a demo with these settings."""
    note = out / "demo.yaml"
    if note.is_file():
        if note.read_text(encoding="utf-8") != config.to_yaml():
            raise InputError(f"{out}: holds a demo with other settings; give another folder, or remove this one")
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: is not empty and holds no demo; give another folder")
    else:
        write_text(note, config.to_yaml())


def _study(out: Path, config: DemoConfig, progress: Progress) -> Path:
    """Grow the specimens that are not there yet; return the table that lists them."""
    from tomostain.phantom import PhantomConfig, write_study

    sizes = {"shape": config.shape, "voxel_um": config.voxel_um, "pixel_um": config.pixel_um, "orientation": "lying"}
    configs = {
        specimen.id: PhantomConfig.from_dict(specimen.model_dump(exclude={"id"}) | sizes)
        for specimen in config.specimens
    }
    return write_study(out / "specimens", configs, sections=not config.find_sections, progress=progress)


def _dataset(out: Path, table: Path, config: DemoConfig, progress: Progress) -> Path:
    """Prepare the pairs; the held-out specimen is the test set."""
    from tomostain.prepare import PrepareConfig, prepare_specimens

    dataset = out / "dataset"
    if not dataset.is_dir():
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
        settings = PrepareConfig(test_subjects=(HELD_OUT,), seed=config.seed, jobs=cores)
        prepare_specimens(table, dataset, settings, progress=progress)
    return dataset


def _is_whole(stained: Path) -> bool:
    from tomostain.io import open_stained

    try:
        open_stained(stained)
    except InputError:
        return False
    return True


@dataclass(frozen=True)
class TruthSlices:
    """The same slices of one specimen, four times.

    Attributes
    ----------
    z : ndarray of int, shape (N,)
        Slice numbers.
    ct : ndarray of uint16, shape (N, Y, X)
        Normalised µCT.
    stained, truth : ndarray of uint8, shape (N, Y, X, 3)
        What the model drew; what an ideal laboratory would have stained there.
    mask : ndarray of bool, shape (N, Y, X)
        Where the specimen is.
    """

    z: NDArray[np.int_]
    ct: NDArray[np.uint16]
    stained: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    mask: NDArray[np.bool_]


def compare_slices(out: Path, config: DemoConfig, progress: Progress = silent) -> TruthSlices:
    """Set slices of the stained volume beside the µCT and the truth.

    The truth is what an ideal laboratory would see: a section of its usual thickness about every slice, without the
    slide's damage. The mask leaves out what lies outside the specimen.

    Parameters
    ----------
    out : Path
        The demo's folder.
    config : DemoConfig
    progress : Progress

    Returns
    -------
    TruthSlices
        `config.truth_slices` slices, evenly spread over the middle two thirds of the volume.
    """
    from tomostain.imaging.intensity import normalise_ct, volume_reference
    from tomostain.io import open_stained, open_volume
    from tomostain.phantom import load_specimen, truth_slice

    specimen = load_specimen(out / "specimens" / HELD_OUT)
    volume = open_volume(out / "specimens" / HELD_OUT / "volume")
    stained = open_stained(out / "stained.ome.zarr")
    levels = volume_reference(volume)
    depth = volume.shape[0]
    z = np.unique(np.linspace(depth / 6, depth * 5 / 6, config.truth_slices).astype(int))
    cts, drawn, truths, masks = [], [], [], []
    for index in track([int(value) for value in z], "truth of the held-out specimen", progress):
        truth, mask = truth_slice(specimen, index)
        cts.append(normalise_ct(volume.read(index, index + 1)[0], levels))
        drawn.append(stained.read(index, index + 1)[0])
        truths.append(truth)
        masks.append(mask)
    return TruthSlices(z, np.stack(cts), np.stack(drawn), np.stack(truths), np.stack(masks))


def evaluate_against_truth(slices: TruthSlices, dataset: Path, fold: int | None) -> "Table":
    """Return the metrics of the stained volume against its truth, with the floors, as paper section 2.10.

    Parameters
    ----------
    slices : TruthSlices
    dataset : Path
        Its training pairs make the colour look-up and the mean image.
    fold : int or None
        The fold that the model was trained on.
    """
    from tomostain.dataset.dataset import load_dataset
    from tomostain.evaluate import ColourLookup, Lpips, Table, evaluate_images, raw_ct
    from tomostain.evaluate.run import ALEX_NOTE, LOOKUP, RAW_CT

    data = load_dataset(dataset)
    lookup = ColourLookup.fit(data.load(pair_id) for pair_id in data.split(fold).train)
    pictures = {
        "trained model": list(slices.stained),
        RAW_CT: [raw_ct(ct) for ct in slices.ct],
        LOOKUP: [lookup(ct) for ct in slices.ct],
    }
    lpips = Lpips()
    records: list[dict[str, Any]] = []
    for name, images in pictures.items():
        ids = [f"z{z}" for z in slices.z]
        records += evaluate_images(images, list(slices.truth), list(slices.mask), model=name, ids=ids, lpips=lpips)
    note = "Against an ideally stained section about each slice, which no laboratory could have made."
    return Table.from_records(records, lpips_label=lpips.label, notes=(note, ALEX_NOTE))


def describe_plan(out: Path, config: DemoConfig) -> list[str]:
    """Return what the demo would do in `out`: sizes, memory and time."""
    voxels = int(np.prod(config.shape))
    number = len(config.specimens)
    done = [
        name
        for name in ("specimens", "dataset-registration", "dataset", "run", "stained.ome.zarr", "report.html")
        if (out / name).exists()
    ]
    size = " x ".join(map(str, config.shape))
    return [
        f"grow {number} specimens of {size} voxels of {config.voxel_um:g} µm; the last is kept out of training",
        "find the section of every slide in its volume" if config.find_sections else "take the sections as known",
        f"train {config.recipe} for {config.steps} steps on the others",
        f"stain the last one's volume, {voxels / 1e6:.1f} million voxels, and compare it with the truth",
        f"on disk: about {number * voxels * 2.5 / 1e6 + 60:.0f} MB in {out}; memory: below 6 GB; "
        "time: some minutes on two cores",
        f"there already: {', '.join(done) or 'nothing'}",
    ]
