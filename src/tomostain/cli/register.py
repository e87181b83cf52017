"""The verb `register`: search for the section of a slide in a volume."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from tomostain.cli.common import (
    ALLOW_MISSING,
    DEVICE,
    DRY_RUN,
    OVERWRITE,
    SEED,
    bars,
    existing,
    file_values,
    merged,
    triple,
    use_threads,
)
from tomostain.cli.options import option_group
from tomostain.cli.verbs import verb
from tomostain.errors import InputError

if TYPE_CHECKING:
    from tomostain.io import Slide, Volume
    from tomostain.register.config import RegisterConfig
    from tomostain.register.hints import Hint
    from tomostain.register.registration import Registration


@option_group
class SearchOptions:
    """How the section is searched."""

    material: str | None = typer.Option(
        None, help="Implant in the µCT: dense (Mg, Ti) or light (PEEK). Default: try both."
    )
    init: Path | None = typer.Option(
        None, "--init", help="YAML with an initial pose. Only its neighbourhood is searched."
    )
    landmarks: Path | None = typer.Option(
        None, help="CSV of three or more matching points, µm: slide_row_um, slide_column_um, z_um, y_um, x_um."
    )
    axis: str | None = typer.Option(None, help="A direction z,y,x within the section, such as the axis of the screw.")
    accept: bool = typer.Option(
        False, "--accept", help="Write the pair even if the registration is uncertain; pair.yaml states that."
    )
    deform: bool = typer.Option(False, "--deform", help="Add a smooth deformation of the soft tissue after the affine.")
    seed: int = SEED
    device: str = DEVICE

    def refuse_two_starts(self) -> None:
        """Raise if several options say where the search begins."""
        if self.init is not None and self.landmarks is not None:
            raise InputError("--init and --landmarks: give only one of them")
        if self.axis is not None and (self.init is not None or self.landmarks is not None):
            raise InputError(
                "--axis: cannot be combined with --init or --landmarks, which skip the search over all orientations"
            )

    @property
    def hint(self) -> "Hint":
        """Start pose, axis, and whether an uncertain result is accepted; reads the files."""
        from tomostain.register.hints import Hint, read_axis, read_landmarks, read_section

        start = read_section(self.init) if self.init else read_landmarks(self.landmarks) if self.landmarks else None
        return Hint(start, read_axis(self.axis) if self.axis else None, self.accept)


@option_group
class InputOptions:
    """What the files do not state: sizes, grey values."""

    voxel_um: str | None = typer.Option(None, help="Voxel size, µm, where the files do not say: 5 or z,y,x.")
    pixel_um: float | None = typer.Option(None, help="Pixel size of the slide, µm, if the file does not state it.")
    dataset: str | None = typer.Option(None, help="Path of the volume in an HDF5 file with several datasets.")
    background: float | None = typer.Option(None, help="Grey value of the background in the µCT (else estimated).")
    bone: float | None = typer.Option(None, help="Grey value of bone in the µCT (else estimated).")
    invert_histology: bool = typer.Option(
        False, "--invert-histology", help="The slide is stored inverted: dark glass, bright tissue."
    )
    allow_missing: bool = ALLOW_MISSING

    @property
    def grey_values(self) -> dict[str, float]:
        """Those that were given, as settings."""
        values = {"ct_background": self.background, "ct_bone": self.bone}
        return {name: value for name, value in values.items() if value is not None}


@option_group
class RunOptions:
    """Settings file, and what is written."""

    config: Path | None = typer.Option(None, help="YAML with settings of this stage. Options override it.")
    overwrite: bool = OVERWRITE
    dry_run: bool = DRY_RUN


@verb(
    order=20,
    output="pair",
    examples="""
    tomostain register specimen/volume specimen/slide.ome.tif pair
    tomostain register scan slide.svs pair --voxel-um 5 --material dense
    tomostain register scan slide.svs pair --init pair/candidate-2.yaml --accept
    tomostain register scan slide.svs pair --landmarks points.csv
    tomostain register ct.tif slide.png pair --voxel-um 10 --pixel-um 2.5
""",
)
def register(
    context: typer.Context,
    search: SearchOptions,
    inputs: InputOptions,
    run: RunOptions,
    volume: Path = typer.Argument(
        help="µCT volume: a folder of TIFF slices, TIFF, HDF5, NRRD, MHA, NIfTI or OME-Zarr. Or one 2D image."
    ),
    slide: Path = typer.Argument(help="Whole-slide image of the section."),
    pair: Path = typer.Argument(help="Folder to write: ct.tif, histology.tif, mask.tif, pair.yaml, qc.png."),
) -> None:
    """Find the section of a slide in a volume, and write the pair.

    No alignment is needed: any orientation of the volume works, and the slide may be rotated, mirrored or partial.
    If VOLUME is a single 2D image, the slide is registered in its plane. Check qc.png afterwards: the edges of the
    histology must lie on those of the µCT. If the pose is uncertain, the command exits with code 3 and writes
    candidates (PAIR/candidate-1.png …) to choose from.
    """
    from tomostain.devices import name_device
    from tomostain.register.files import register_files
    from tomostain.register.hints import check_start
    from tomostain.register.single_image import open_slide_or_image, open_volume_or_image

    search.refuse_two_starts()
    settings = _settings(context, search, inputs, run)
    size = triple(inputs.voxel_um, "--voxel-um")
    existing(volume, "volume"), existing(slide, "slide")
    hint = search.hint
    scan = open_volume_or_image(volume, size, inputs.dataset, allow_missing=inputs.allow_missing)
    if (start := hint.in_volume(scan).start) is not None and scan.shape[0] > 1:
        check_start(start, scan.shape, scan.voxel_um)
    if run.dry_run:
        image = open_slide_or_image(slide, inputs.pixel_um, inverted=inputs.invert_histology)
        for line in _plan(scan, image, settings.max_voxels):
            typer.echo(line)
        return
    use_threads(context)
    typer.echo(f"volume: {volume}: {scan.describe()}")
    if scan.shape[0] > 1:
        typer.echo(f"device: {name_device(search.device)}")
    with bars(context) as progress:
        registration = register_files(
            volume,
            slide,
            pair,
            settings,
            hint=hint,
            voxel_um=size,
            pixel_um=inputs.pixel_um,
            dataset=inputs.dataset,
            invert_histology=inputs.invert_histology,
            next_command=_accepting(volume, slide, pair, run.config, inputs, search),
            allow_missing=inputs.allow_missing,
            overwrite=run.overwrite,
            device=search.device,
            progress=progress,
        )
    for line in _summary(registration, pair):
        typer.echo(line)


def _settings(context: typer.Context, search: SearchOptions, inputs: InputOptions, run: RunOptions) -> "RegisterConfig":
    """Return the settings of a YAML file, overridden by options."""
    from tomostain.register.config import RegisterConfig

    values = merged(context, file_values(run.config), {"seed": search.seed})
    values |= inputs.grey_values
    values |= ({"material": search.material} if search.material else {}) | ({"deform": True} if search.deform else {})
    return RegisterConfig.from_dict(values, source=str(run.config or "options"))


def _summary(registration: "Registration", pair: Path) -> list[str]:
    """Return the confidence and its reasons, warnings, and the files to look at."""
    from tomostain.register.planar_judge import PlanarEvidence

    evidence = registration.evidence
    word = "" if evidence.sure else "not sure, accepted; "
    lines = [f"confidence: {evidence.confidence:.2f} ({word}{evidence.describe()})"]
    figures = [pair / "qc.png"]
    if isinstance(evidence, PlanarEvidence):
        lines.append(f"transform:  {evidence.transform}")
        lines += [f"note:       {evidence.note}"] if evidence.note else []
    else:
        figures.append(pair / "volume.png")
    lines += _levels(registration)
    lines += [f"warning:    {text}" for text in registration.warnings]
    return [*lines, f"pair:       {pair}", f"check:      {', '.join(map(str, figures))}"]


def _levels(registration: "Registration") -> list[str]:
    """Return the grey values of background and bone, if the details state them."""
    levels = registration.details.get("levels")
    grey = levels.get("ct") if isinstance(levels, dict) else None
    return [] if grey is None else [f"levels:     background {grey['background']:.6g}, bone {grey['bone']:.6g}"]


def _accepting(
    volume: Path, slide: Path, pair: Path, config: Path | None, inputs: InputOptions, search: SearchOptions
) -> str:
    """Return the command that accepts a candidate; ``{candidate}`` stands for its file."""
    words = ["tomostain", "register", str(volume), str(slide), str(pair)]
    options = {
        "--config": config,
        "--voxel-um": inputs.voxel_um,
        "--pixel-um": inputs.pixel_um,
        "--dataset": inputs.dataset,
        "--background": inputs.background,
        "--bone": inputs.bone,
        "--material": search.material,
    }
    for name, value in options.items():
        words += [] if value is None else [name, str(value)]
    words += ["--invert-histology"] if inputs.invert_histology else []
    words += ["--allow-missing"] if inputs.allow_missing else []
    words += ["--deform"] if search.deform else []
    words += ["--overwrite"] if (pair / "pair.yaml").exists() else []
    return f"{shlex.join(words)} --init {{candidate}} --accept"


def _plan(scan: "Volume", slide: "Slide", max_voxels: int) -> list[str]:
    """Return the sizes, the memory and the time that the registration would take."""
    size = f"slide: {slide.shape[0]} x {slide.shape[1]} px of {slide.pixel_um:g} µm"
    if scan.shape[0] == 1:
        return [f"image: {scan.describe()}; registered in its plane", size, "memory: below 1 GB", "time: about 10 s"]
    voxels = scan.shape[0] * scan.shape[1] * scan.shape[2]
    factor = max(1, round(max(scan.shape) / max_voxels))
    passes = 1 if factor == 1 else 2
    return [
        f"volume: {scan.describe()}; searched at {factor} times the voxel size",
        size,
        f"memory: below {1.5 + min(2.0, voxels / 2e9):.1f} GB",
        f"time: about {40 + passes * voxels / 4e7:.0f} s on two cores; up to three times that if the first search is "
        "uncertain",
    ]
