"""The verb `measure`: the numbers of an implant study, from a stained volume, from a section, or for a study."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from tomostain.cli.common import (
    DEVICE,
    DRY_RUN,
    OVERWRITE,
    bars,
    existing,
    existing_model,
    file_values,
    triple,
    use_threads,
)
from tomostain.cli.completion import model_names
from tomostain.cli.options import option_group, stated
from tomostain.cli.verbs import verb
from tomostain.errors import InputError

if TYPE_CHECKING:
    from tomostain.measure.config import MeasureConfig
    from tomostain.measure.rows import MeasureRow

_SECONDS_PER_MEGAVOXEL = 5.0
MAX_UNCERTAINTY = 0.5
"""Voxels with a higher uncertainty are refused, if a map is given without a limit."""


@option_group
class InputOptions:
    """What is measured in addition to, or instead of, the stained volume."""

    ct: Path | None = typer.Option(None, metavar="VOLUME", help="The µCT volume that was stained, for the classifier.")
    labels: Path | None = typer.Option(
        None, metavar="VOLUME", help="Label volume to measure instead of a classification, such as a corrected one."
    )
    ensemble: list[Path] | None = typer.Option(
        None,
        metavar="STAINED",
        help="The same volume, stained by another model, for the spread of models; repeatable.",
    )
    uncertainty: Path | None = typer.Option(
        None, metavar="MAP", help="Uncertainty map that 'tomostain stain --uncertainty' wrote."
    )
    max_uncertainty: float | None = typer.Option(
        None, help="0 to 1: also report the measures without the voxels whose uncertainty is higher (with a map: 0.5)."
    )
    members: int | None = typer.Option(
        None, help="Networks of the classifier that are compared, for the spread of models (default: 0, none)."
    )
    voxel_um: str | None = typer.Option(
        None, help="Voxel size of --ct or --labels, µm, where the file does not say: 20 or z,y,x."
    )
    maps: bool = typer.Option(True, "--maps/--no-maps", help="Write maps of thickness and distance.")
    memory_gb: float | None = typer.Option(None, help="Maximum memory for the arrays of one step, GB (default: 1).")


@option_group
class TissueOptions:
    """How tissue is classified and measured: fields of `tomostain.measure.config.MeasureConfig`."""

    classes_from: str | None = typer.Option(
        None, help="Images from which tissue is classified: stain, ct, both, or auto (default: all that are given)."
    )
    stain: str | None = typer.Option(None, help="toluidine-blue or h&e (default: as the stained volume states).")
    specimen: str | None = typer.Option(None, help="Name in the tables (default: that of the volume).")
    implant: str | None = typer.Option(
        None, metavar="MATERIAL", help="Material of the implant, such as Mg-10Gd; none: no implant."
    )
    weeks: float | None = typer.Option(None, help="Time since implantation, for the degradation rate.")
    initial: Path | None = typer.Option(
        None, metavar="VOLUME", help="Label volume of the implant before implantation, for its volume loss."
    )
    initial_volume_mm3: float | None = typer.Option(None, help="Initial volume of the implant, instead of --initial.")
    initial_surface_mm2: float | None = typer.Option(None, help="Initial surface, with --initial-volume-mm3.")
    geometry: str | None = typer.Option(
        None, help="Shape of the implant before implantation, fitted to the labels, instead of --initial: m2-screw."
    )
    surface: str | None = typer.Option(
        None, help="Surface of the implant: labels, or fitted, that of --geometry (default: labels)."
    )
    diameter_mm: float | None = typer.Option(
        None, help="Nominal diameter of the implant. If the measured one differs, the voxel size is wrong: an error."
    )
    gap_um: float | None = typer.Option(
        None, help="Bone touches the implant if the gap is at most this wide (default: the diagonal of a voxel)."
    )
    depth_um: float | None = typer.Option(
        None, help="Beyond the gap, at least half of this depth must be bone (default: two voxels)."
    )
    profile_um: float | None = typer.Option(None, help="Interval of the profile of new bone (default: 50).")


@option_group
class SectionOptions:
    """Options of `--section`."""

    section: Path | None = typer.Option(
        None, metavar="PAIR", help="Measure a pair of µCT and histology: the real and the virtual section."
    )
    model: Path | None = typer.Option(
        None, help="With --section: the model that stains the virtual section.", autocompletion=model_names
    )
    volume: Path | None = typer.Option(
        None,
        metavar="STAINED",
        help="With --section: the stained volume in which the section lies, for the spread of the registration, and "
        "for the virtual section if there is no --model.",
    )

    planes: int | None = typer.Option(
        None, help="With --section and --volume: planes within the error of the registration (default: 20)."
    )
    position_sd_um: float | None = typer.Option(
        None, help="With --section: error of the registration along the normal (default: a quarter of a pixel)."
    )
    tilt_sd_deg: float | None = typer.Option(
        None, help="With --section: error of the two tilts of the section (default: 0.15)."
    )

    @property
    def settings(self) -> dict[str, object]:
        """The options that are fields of `tomostain.measure.config.MeasureConfig`."""
        return {name: value for name, value in stated(self).items() if name in _SECTION_SETTINGS}


@option_group
class StudyOptions:
    """Options of `--study`."""

    study: Path | None = typer.Option(
        None,
        metavar="TABLE",
        help="Compare groups: CSV with one row per specimen (see docs/how-to/measure.md).",
    )
    by: list[str] | None = typer.Option(
        None, metavar="COLUMN", help="With --study: a column of groups; repeatable (default: implant, weeks, group …)."
    )
    measures: list[str] | None = typer.Option(
        None,
        "--measure",
        metavar="NAME",
        help="With --study: only this measure, such as bic_surface; repeatable.",
    )
    source: str | None = typer.Option(None, help="With --study: measures from stained, ct, both or labels.")


_SECTION_SETTINGS = ("planes", "position_sd_um", "tilt_sd_deg")
_OF_VOLUME = ("ct", "labels", "ensemble", "uncertainty", "max_uncertainty", "members", "voxel_um", "maps", "memory_gb")
_OF_SECTION, _OF_STUDY = ("model", "volume", "device", *_SECTION_SETTINGS), ("by", "measures", "source")
_OF_BODY = (
    *("classes_from", "implant", "weeks", "initial", "initial_volume_mm3", "initial_surface_mm2"),
    *("geometry", "surface", "diameter_mm", "profile_um"),
)
"""Options of the tissue that the measures in a plane do not use."""
_OF_CLASSES = ("classes_from", "stain", "classifier", "members", "ensemble")
"""Options of the classification, which labels replace."""
_OF_IMAGES = (*(name for name in TissueOptions.__annotations__), "classifier", "shell_um", "config")


@verb(
    order=85,
    renamed={"--also": "--ensemble"},
    examples="""
    A volume:
    tomostain measure stained.ome.zarr measures
    tomostain measure stained.ome.zarr measures --ct reco_folder --implant Mg-10Gd --weeks 8
    tomostain measure stained.ome.zarr measures --initial screw.ome.zarr --weeks 8 --diameter-mm 2
    tomostain measure stained.ome.zarr measures --ensemble stained-fold1.ome.zarr --uncertainty uncertainty.ome.zarr
    tomostain measure measures --ct reco_folder      # without a stained volume
    tomostain measure measures2 --labels corrected.nrrd      # labels that a person corrected
    tomostain measure measures2 --labels corrected.tif --voxel-um 20      # where the file does not say the voxel size
    The plane of the histology, on the real and on the virtual section:
    tomostain measure measures --section dataset/pairs/rat5 --model run/model --volume stained.ome.zarr
    The groups of a study:
    tomostain measure comparison --study table.csv
    tomostain measure comparison --study table.csv --by implant --measure bic_surface --measure trabecular_thickness
""",
)
def measure(
    context: typer.Context,
    inputs: InputOptions,
    tissue: TissueOptions,
    of_section: SectionOptions,
    of_study: StudyOptions,
    paths: list[Path] = typer.Argument(
        metavar="[STAINED] OUT", help="The stained volume, if there is one, and a folder for the results."
    ),
    shell_um: str | None = typer.Option(
        None, help="Edges of the shells around the implant for BV/TV, µm (default: 0,100,200,300,500)."
    ),
    classifier: str | None = typer.Option(
        None, metavar="DIR", help="A tissue classifier, or builtin:NAME (default: the built-in one for the stain)."
    ),
    config: Path | None = typer.Option(None, help="YAML with any of the settings of this stage."),
    device: str = DEVICE,
    json: bool = typer.Option(False, "--json", help="Print the measures as JSON instead of a table."),
    dry_run: bool = DRY_RUN,
    overwrite: bool = OVERWRITE,
) -> None:
    """Measure bone-implant contact, bone, degradation and more, as numbers with units.

    Writes OUT/measures.csv and .json, labels.ome.zarr (which opens next to the stain), maps, and OUT/report.html.
    With --section, the real and the virtual section are measured in the same way, side by side.
    With --study, groups of specimens are compared with the animal as the unit.
    """
    use_threads(context)
    form = _form(of_section, of_study)
    _refuse_others(context, form)
    _refuse_without_effect(context, inputs, of_section)
    stained, out = _stained_and_out(paths, form, inputs)
    if form == "study":
        _compare(context, of_study, out, json=json, dry_run=dry_run, overwrite=overwrite)
        return
    settings = _config(config, {**stated(tissue), **of_section.settings}, inputs, shell_um)
    if classifier is not None and not classifier.startswith("builtin:"):
        existing(Path(classifier), "classifier")
    options = _Run(settings, out, classifier, device, json, dry_run, overwrite)
    if form == "section":
        _measure_section(context, of_section, options)
    else:
        _measure_volume(context, stained, inputs, options)


@dataclass(frozen=True)
class _Run:
    """Settings and output of a measurement."""

    config: "MeasureConfig"
    out: Path
    classifier: str | None
    device: str
    json: bool
    dry_run: bool
    overwrite: bool


def _form(section: SectionOptions, study: StudyOptions) -> str:
    if section.section is not None and study.study is not None:
        raise InputError("--section and --study: give one of them")
    return "section" if section.section is not None else "study" if study.study is not None else "volume"


def _refuse_others(context: typer.Context, form: str) -> None:
    """Raise if an option is given that has no effect in this form."""
    unused = {
        "volume": {**dict.fromkeys(_OF_SECTION, "--section"), **dict.fromkeys(_OF_STUDY, "--study")},
        "section": {**dict.fromkeys((*_OF_VOLUME, *_OF_BODY), "volumes"), **dict.fromkeys(_OF_STUDY, "--study")},
        "study": {
            **dict.fromkeys((*_OF_VOLUME, *_OF_IMAGES), "volumes and sections"),
            **dict.fromkeys(_OF_SECTION, "--section"),
        },
    }[form]
    for name, purpose in unused.items():
        if _is_stated(context, name):
            raise InputError(f"`{name}`: is for {purpose}; leave it out", parameter=name)


def _refuse_without_effect(context: typer.Context, inputs: InputOptions, section: SectionOptions) -> None:
    """Raise if an option is given that has no effect in addition to `labels`, or without `volume`."""
    for name in _OF_CLASSES if inputs.labels is not None else ():
        if _is_stated(context, name):
            raise InputError(f"`{name}`: has no effect with --labels, which are not classified; leave it out")
    for name in _SECTION_SETTINGS if section.section is not None and section.volume is None else ():
        if _is_stated(context, name):
            raise InputError(f"`{name}`: has no effect without --volume; give it, too")
    if inputs.voxel_um is not None and inputs.ct is None and inputs.labels is None:
        raise InputError("`voxel_um`: is for --ct and --labels; a stained volume states its voxel size")


def _is_stated(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _stained_and_out(paths: list[Path], form: str, inputs: InputOptions) -> tuple[Path | None, Path]:
    """Return the stained volume, if there is one, and the folder of the results."""
    if form != "volume":
        if len(paths) != 1:
            raise InputError(f"with --{form}, give one folder for the results, not {len(paths)} paths")
        return None, paths[0]
    if len(paths) > 2:
        raise InputError(f"give the stained volume and a folder for the results, not {len(paths)} paths")
    if len(paths) == 2:
        return existing(paths[0], "stained volume"), paths[1]
    if inputs.ct is None and inputs.labels is None:
        raise InputError(
            f"{paths[0]}: give the stained volume and a folder for the results, or --ct or --labels instead of the "
            "stained volume"
        )
    return None, paths[0]


def _config(
    file: Path | None, options: Mapping[str, object], inputs: InputOptions, shell_um: str | None
) -> "MeasureConfig":
    """Return the settings of a YAML file, overridden by options."""
    from tomostain.measure.config import MeasureConfig

    values = file_values(file) | dict(options)
    if inputs.max_uncertainty is not None or inputs.uncertainty is not None:
        default = values.get("max_uncertainty", MAX_UNCERTAINTY)
        values["max_uncertainty"] = default if inputs.max_uncertainty is None else inputs.max_uncertainty
    values |= {name: value for name, value in stated(inputs).items() if name in ("members", "memory_gb")}
    if not inputs.maps:
        values["maps"] = False
    if shell_um is not None:
        values["shell_um"] = _edges(shell_um)
    config = MeasureConfig.from_dict(values, source=str(file or "options"))
    if config.initial is not None:
        existing(config.initial, "label volume")
    return config


def _edges(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--shell-um {text}: give distances in µm, separated by commas") from None


def _measure_volume(context: typer.Context, stained: Path | None, inputs: InputOptions, run: _Run) -> None:
    for path, what in ((inputs.ct, "volume"), (inputs.labels, "label volume"), (inputs.uncertainty, "map")):
        if path is not None:
            existing(path, what)
    ensemble = [existing(path, "stained volume") for path in inputs.ensemble or ()]
    if run.dry_run:
        typer.echo(_plan(stained, inputs, ensemble, run))
        return
    from tomostain.measure.run import measure_volume
    from tomostain.view.report.measures import measures_page

    with bars(context) as progress:
        result = measure_volume(
            stained,
            run.out,
            config=run.config,
            ct=inputs.ct,
            labels=inputs.labels,
            classifier=run.classifier,
            ensemble=ensemble,
            uncertainty=inputs.uncertainty,
            voxel_um=triple(inputs.voxel_um, "--voxel-um"),
            overwrite=run.overwrite,
            progress=progress,
        )
        page = measures_page(result)
    _show(result.rows, result.notes, page, run)
    if result.stained is not None and result.labels_path is not None and not run.json:
        typer.echo(f"next:    open {result.labels_path} next to {result.stained} in napari")


def _measure_section(context: typer.Context, options: SectionOptions, run: _Run) -> None:
    assert options.section is not None
    pair = existing(options.section, "pair")
    model = None if options.model is None else existing_model(options.model)
    volume = None if options.volume is None else existing(options.volume, "stained volume")
    if model is None and volume is None:
        raise InputError("--section: give --model or --volume, from which the virtual section is made")
    if run.dry_run:
        from tomostain.measure.result_files import check_output

        check_output(run.out, sources=[pair], overwrite=run.overwrite)
        typer.echo(f"pair:    {pair}\nvirtual: from {model or volume}\nwrites:  {run.out}: tables and report.html")
        return
    from tomostain.measure.section import measure_section
    from tomostain.view.report.measures import section_page

    with bars(context) as progress:
        result = measure_section(
            pair,
            run.out,
            config=run.config,
            model=None if model is None else str(model),
            volume=volume,
            classifier=run.classifier,
            device=run.device,
            overwrite=run.overwrite,
            progress=progress,
        )
        page = section_page(result)
    _show(result.rows, result.notes, page, run)


def _compare(
    context: typer.Context, options: StudyOptions, out: Path, *, json: bool, dry_run: bool, overwrite: bool
) -> None:
    from tomostain.measure.config import StudyConfig
    from tomostain.measure.study import measure_study, study_json, study_text

    assert options.study is not None
    table = existing(options.study, "table")
    config = StudyConfig(by=tuple(options.by or ()), measures=tuple(options.measures or ()), source=options.source)
    if dry_run:
        from tomostain.measure.study_table import read_study

        study = read_study(table, config)
        groups = ", ".join(dict.fromkeys(f"'{each.group}'" for each in study.specimens))
        typer.echo(f"table:    {table}: {len(study.specimens)} specimens\ngroups:   {groups}")
        typer.echo(f"measures: {len(study.values)}\nwrites:   {out}/groups.csv, values.csv, report.html")
        return
    from tomostain.view.report.study import study_page

    with bars(context) as progress:
        result = measure_study(table, out, config=config, overwrite=overwrite, progress=progress)
        page = study_page(result)
    if json:
        typer.echo(study_json(result))
        return
    typer.echo(study_text(result))
    for note in result.notes:
        typer.echo(f"note:    {note}")
    typer.echo(f"tables:  {out / 'groups.csv'}, {out / 'values.csv'}\npage:    {page}")


def _show(rows: "Sequence[MeasureRow]", notes: Sequence[str], page: Path, run: _Run) -> None:
    """Print the measures, and where the results are."""
    from tomostain.measure.result_files import CSV, JSON
    from tomostain.measure.text import measures_text

    if run.json:
        typer.echo((run.out / JSON).read_text(encoding="utf-8").rstrip())
        return
    typer.echo(measures_text(rows))
    for note in notes:
        typer.echo(f"note:    {note}")
    typer.echo(f"tables:  {run.out / CSV}, {run.out / JSON}\npage:    {page}")


def _plan(stained: Path | None, inputs: InputOptions, ensemble: list[Path], run: _Run) -> str:
    """Check the inputs; return what would be done, its size and time."""
    from tomostain.io import open_stained, open_volume
    from tomostain.measure.label_files import check_grid, open_labels
    from tomostain.measure.result_files import check_output

    sources = [path for path in (stained, inputs.ct, inputs.labels, inputs.uncertainty, *ensemble) if path is not None]
    check_output(run.out, sources=sources, overwrite=run.overwrite)
    grid = None if stained is None else open_stained(stained)
    for path in ensemble:
        check_grid(path, open_stained(path), grid or open_stained(path))
    size_um = triple(inputs.voxel_um, "--voxel-um")
    ct = None if inputs.ct is None else open_volume(inputs.ct, voxel_um=size_um if grid is None else grid.voxel_um)
    labels = None if inputs.labels is None else open_labels(inputs.labels, grid or ct, voxel_um=size_um)
    measured = grid or ct or labels
    assert measured is not None  # the paths were checked
    if inputs.ct is not None and ct is not None:
        check_grid(inputs.ct, ct, measured)
    voxels = measured.shape[0] * measured.shape[1] * measured.shape[2]
    size, side = (" x ".join(f"{value:g}" for value in each) for each in (measured.shape, measured.voxel_um))
    disk = voxels * (9 if run.config.maps else 1) / 1e9
    minutes = voxels / 1e6 * _SECONDS_PER_MEGAVOXEL * (1 + len(ensemble)) / 60
    return (
        f"measures: {size} voxels of {side} µm (z, y, x)\n"
        f"classes:  from {inputs.labels if labels is not None else _images(stained, inputs, run)}\n"
        f"writes:   {run.out}: measures.csv, measures.json, labels.ome.zarr, "
        f"{'maps, ' if run.config.maps else ''}report.html\n"
        f"disk:     at most {disk:.2g} GB\n"
        f"time:     about {max(minutes, 0.1):.1g} min"
    )


def _images(stained: Path | None, inputs: InputOptions, run: _Run) -> str:
    images = [name for name, path in (("stain", stained), ("µCT", inputs.ct)) if path is not None]
    named = {"stain": ["stain"], "ct": ["µCT"], "both": ["stain", "µCT"]}.get(run.config.classes_from, images)
    return "the " + " and the ".join(named)
