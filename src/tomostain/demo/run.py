"""The demo: specimens, dataset, training, staining, evaluation, and one page with the results.

Every step leaves a folder and is skipped if the folder exists, so a second run continues.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from tomostain.demo.config import HELD_OUT, DemoConfig
from tomostain.demo.page import demo_page
from tomostain.demo.truth import compare_slices, evaluate_against_truth
from tomostain.errors import InputError
from tomostain.evaluate import Table
from tomostain.io import open_stained
from tomostain.io.atomic import write_text
from tomostain.io.output_folder import output_folder
from tomostain.phantom import PhantomConfig, write_study
from tomostain.prepare import PrepareConfig, prepare_specimens
from tomostain.progress import Progress, ShouldStop, never, raising_on_stop, silent
from tomostain.stain import StainConfig, stain_volume
from tomostain.train import train_model


@dataclass(frozen=True)
class DemoResult:
    """Paths of the results of the demo.

    Attributes
    ----------
    folder, dataset, run, model, stained, report : Path
        Folder of the demo and its contents.
    table : Table
        The stained volume of the held-out specimen compared with its truth, with the baselines.
    """

    folder: Path
    dataset: Path
    run: Path
    model: Path
    stained: Path
    report: Path
    table: Table


def run_demo(
    out: str | os.PathLike[str],
    config: DemoConfig | None = None,
    *,
    progress: Progress = silent,
    should_stop: ShouldStop = never,
) -> DemoResult:
    """Run the whole pipeline on phantoms.

    Parameters
    ----------
    out : Path
        Folder. A demo with the same settings continues in it.
    config : DemoConfig, optional
        Settings.
    progress : Progress
        Listener.
    should_stop : function
        Asked at every progress report. If it returns True, the demo stops; run it again to continue.

    Returns
    -------
    DemoResult

    Raises
    ------
    InputError
        If `out` contains other files, or a demo with other settings.
    InterruptedRunError
        If `should_stop` returned True.
    """
    config = config or DemoConfig()
    out = Path(out)
    report_training, progress = progress, raising_on_stop(progress, should_stop, out)
    _begin(out, config)
    dataset = _dataset(out, _study(out, config, progress), config, progress)
    run = out / "run"
    if not (run / "model").is_dir():
        train_model(
            dataset,
            run,
            recipe=config.recipe,
            seed=config.seed,
            max_steps=config.steps,
            resume=(run / "last").exists(),
            overwrite=True,
            progress=report_training,
            should_stop=should_stop,
        )
    model, stained = run / "model", out / "stained.ome.zarr"
    if not _is_whole(stained):
        volume = out / "specimens" / HELD_OUT / "volume"
        settings = StainConfig(patch_px=config.patch_px, stride_px=config.stride_px, blend="hann")
        stain_volume(model, volume, stained, config=settings, progress=progress)
    slices = compare_slices(out, config, progress)
    table = evaluate_against_truth(slices, dataset, fold=0)
    report = demo_page(out, config, slices, table, progress)
    return DemoResult(out, dataset, run, model, stained, report, table)


def _begin(out: Path, config: DemoConfig) -> None:
    """Mark the folder as a demo, or check that it contains a demo with these settings."""
    settings = out / "demo.yaml"
    if not output_folder(out, "demo", settings.name, resume=True):
        write_text(settings, config.to_yaml())
    elif settings.read_text(encoding="utf-8") != config.to_yaml():
        raise InputError(f"{out}: contains a demo with other settings; choose another folder, or remove this one")


def _study(out: Path, config: DemoConfig, progress: Progress) -> Path:
    """Generate the missing specimens; return the table that lists them."""
    sizes = {"shape": config.shape, "voxel_um": config.voxel_um, "pixel_um": config.pixel_um, "orientation": "lying"}
    configs = {
        specimen.id: PhantomConfig.from_dict(specimen.model_dump(exclude={"id"}) | sizes)
        for specimen in config.specimens
    }
    return write_study(out / "specimens", configs, sections=not config.find_sections, progress=progress)


def _dataset(out: Path, table: Path, config: DemoConfig, progress: Progress) -> Path:
    """Prepare the pairs. The held-out specimen is the test set."""
    dataset = out / "dataset"
    if not dataset.is_dir():
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
        settings = PrepareConfig(test_subjects=(HELD_OUT,), seed=config.seed, jobs=cores)
        prepare_specimens(table, dataset, settings, progress=progress)
    return dataset


def _is_whole(stained: Path) -> bool:

    try:
        open_stained(stained)
    except InputError:
        return False
    return True
