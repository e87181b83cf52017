"""The verb `prepare`: make a dataset."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tomostain.cli.common import ALLOW_MISSING, OVERWRITE, SEED, bars, existing, file_values, merged
from tomostain.cli.options import option_group, stated
from tomostain.cli.verbs import verb
from tomostain.errors import InputError

if TYPE_CHECKING:
    from tomostain.dataset.dataset import Dataset
    from tomostain.progress import Progress


@option_group
class SplitOptions:
    """How the pairs are divided."""

    folds: int = typer.Option(5, min=2, help="Folds for cross-validation.")
    seed: int = SEED
    test_subjects: str | None = typer.Option(None, help="Subjects of the test set, separated by commas.")
    test_fraction: float | None = typer.Option(None, help="Fraction of the pairs in the test set, 0 to 0.9.")


@option_group
class AlignedOptions:
    """Options for aligned images only."""

    aligned: bool = typer.Option(
        False, "--aligned", help="Take aligned images: files of the same names in two folders."
    )
    voxel_um: float | None = typer.Option(None, help="Pixel size of aligned images, µm.")
    normalise: str | None = typer.Option(None, help="Aligned images: auto (bone and background), range, or none.")
    subject_regex: str | None = typer.Option(
        None, help="Aligned images: regular expression for the file name. Its first group is the subject."
    )
    mask: str | None = typer.Option(None, help="Aligned images: auto, none, or a folder of masks.")
    stain: str | None = typer.Option(
        None, help="Aligned images: toluidine-blue or h&e; 'measure' then knows the stain of the model."
    )
    invert_histology: bool = typer.Option(False, "--invert-histology", help="Aligned images: invert the histology.")
    halves: bool = typer.Option(
        False, "--halves", help="Aligned images: train on the left halves, test on the right halves."
    )


@option_group
class PrepareVolumeOptions:
    """Options for volumes and slides only."""

    ct_slices: int | None = typer.Option(
        None, min=1, help="Neighbouring µCT slices to store, for recipes with several input slices."
    )
    allow_missing: bool = ALLOW_MISSING
    device: str = typer.Option("auto", "--device", help="Device of the registrations: auto, cpu, cuda or cuda:N.")
    jobs: int = typer.Option(0, min=0, help="Simultaneous registrations (0: one for every two cores).")


@verb(
    order=40,
    output="inputs",
    continues=lambda values: not values["aligned"],  # the registrations are kept
    examples="""
    tomostain prepare specimens.csv dataset
    tomostain prepare specimens.csv dataset --ct-slices 3
    tomostain prepare --aligned mri pet dataset --voxel-um 1000 --normalise range --subject-regex '(.+)\\d{3}$'
    tomostain prepare --aligned ct.mha histology.mha dataset --voxel-um 10.23 --halves
""",
)
def prepare(
    context: typer.Context,
    split: SplitOptions,
    images: AlignedOptions,
    volumes: PrepareVolumeOptions,
    inputs: list[Path] = typer.Argument(help="SPECIMENS.csv DATASET, or with --aligned: DIR_X DIR_Y DATASET."),
    config: Path | None = typer.Option(None, help="YAML with settings of this stage. Options override it."),
    overwrite: bool = OVERWRITE,
) -> None:
    """Make a dataset: resample µCT and histology to one grid, normalise, mask, and split into folds.

    SPECIMENS.csv has the columns specimen, volume and slide. Optional columns are section (a YAML file with the pose),
    subject, implant, weeks, stain, voxel_um, pixel_um and exclude. Paths are relative to the file. Where section is
    empty, the specimen is registered first. DATASET-registration/ then holds scores.csv and a qc.png for each
    specimen. A specimen with an uncertain registration is left out. Run the command again to continue.
    Check pairs/*/qc.png afterwards. To exclude a region, draw it white in pairs/*/exclude.tif.
    """
    if len(inputs) != (3 if images.aligned else 2):
        names = "DIR_X DIR_Y DATASET" if images.aligned else "SPECIMENS.csv DATASET"
        raise InputError(f"prepare: {len(inputs)} paths given; expected {names}")
    values = merged(context, file_values(config), {"folds": split.folds, "seed": split.seed})
    values |= _stated_values(split, images, volumes)
    source = str(config or "options")
    with bars(context) as progress:
        if images.aligned:
            dataset = _prepare_aligned(inputs, values, source, overwrite=overwrite, progress=progress)
        else:
            values |= {"jobs": volumes.jobs} if volumes.jobs else {}
            values |= {"allow_missing": True} if volumes.allow_missing else {}
            dataset = _prepare_specimens(
                inputs, values, source, overwrite=overwrite, device=volumes.device, progress=progress
            )
    _show_results(dataset, inputs[-1], aligned=images.aligned)


def _stated_values(split: SplitOptions, images: AlignedOptions, volumes: PrepareVolumeOptions) -> dict[str, Any]:
    """Return the options that are given and are settings of this form of the verb."""
    only_aligned = {name: value for name, value in stated(images).items() if name != "aligned" and value is not False}
    optional: dict[str, Any] = {
        "test_subjects": split.test_subjects.split(",") if split.test_subjects else None,
        "test_fraction": split.test_fraction,
    }
    if images.aligned:
        if volumes.ct_slices is not None:
            raise InputError("--ct-slices: only without --aligned; aligned images have no neighbouring slices")
        optional |= only_aligned
    else:
        optional["ct_slices"] = volumes.ct_slices
        for name in only_aligned:
            raise InputError(f"--{name.replace('_', '-')}: only with --aligned")
    return {name: value for name, value in optional.items() if value is not None}


def _prepare_aligned(
    inputs: list[Path], values: dict[str, Any], source: str, *, overwrite: bool, progress: "Progress"
) -> "Dataset":
    from tomostain.prepare import AlignedConfig, prepare_aligned

    x, y, out = (existing(path, "file or folder") if path is not inputs[-1] else path for path in inputs)
    return prepare_aligned(x, y, out, AlignedConfig.from_dict(values, source), overwrite=overwrite, progress=progress)


def _prepare_specimens(
    inputs: list[Path], values: dict[str, Any], source: str, *, overwrite: bool, device: str, progress: "Progress"
) -> "Dataset":
    from tomostain.prepare import PrepareConfig, prepare_specimens
    from tomostain.prepare.specimens import described_volumes

    table, out = existing(inputs[0], "file"), inputs[1]
    config = PrepareConfig.from_dict(values, source)
    for line in described_volumes(table, allow_missing=config.allow_missing):
        typer.echo(f"volume: {line}")
    return prepare_specimens(table, out, config, overwrite=overwrite, device=device, progress=progress)


def _show_results(dataset: "Dataset", out: Path, *, aligned: bool) -> None:
    """Print what was left out, the dataset, and the next command."""
    from tomostain.prepare.specimens import registration_folder
    from tomostain.prepare.study import left_out

    for name, reason in left_out(registration_folder(out)).items() if not aligned else ():
        typer.echo(f"left out: {name}: {reason}")
    typer.echo(f"dataset: {out}: {len(dataset.ids)} pairs, {len(dataset.folds)} folds, {len(dataset.test)} for testing")
    if dataset.test:
        subjects = dataset.subjects(dataset.test)
        typer.echo(f"testing: {len(subjects)} subject{'s' * (len(subjects) != 1)}: {', '.join(subjects)}")
    else:
        ways = "--halves or --test-subjects" if aligned else "--test-subjects or --test-fraction"
        typer.echo(f"note:    no pair is left for testing; to evaluate a model, prepare the dataset with {ways}")
    typer.echo(f"check:   {out / 'pairs'}/*/qc.png")
    typer.echo(f"next:    tomostain train {out} run")
