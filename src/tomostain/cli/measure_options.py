"""Options of the verb `measure`, and which of them go together."""

from pathlib import Path

import typer

from tomostain.cli.common import DEVICE, DRY_RUN, OVERWRITE, existing
from tomostain.cli.completion import model_names
from tomostain.cli.options import option_group, stated
from tomostain.errors import InputError


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
        None, help="Voxel size of --ct or --labels, µm, instead of that in the file: 20 or z,y,x."
    )
    maps: bool = typer.Option(True, "--maps/--no-maps", help="Write maps of thickness and distance.")
    memory_gb: float | None = typer.Option(None, help="Maximum memory for the arrays of one step, GB (default: 1).")


@option_group
class TissueOptions:
    """How tissue is classified and measured: fields of `tomostain.measure.config.MeasureConfig`."""

    classes_from: str | None = typer.Option(
        None, help="Images from which tissue is classified: stain, ct, both, or auto (default: all that are given)."
    )
    stain: str | None = typer.Option(
        None, help="toluidine-blue or h&e (default: as the stained volume or the pair states)."
    )
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


@option_group
class RunOptions:
    """Settings, device and output."""

    shell_um: str | None = typer.Option(
        None, help="Edges of the shells around the implant for BV/TV, µm (default: 0,100,200,300,500)."
    )
    classifier: str | None = typer.Option(
        None, metavar="DIR", help="A tissue classifier, or builtin:NAME (default: the built-in one for the stain)."
    )
    config: Path | None = typer.Option(None, help="YAML with any of the settings of this stage.")
    device: str = DEVICE
    json: bool = typer.Option(False, "--json", help="Print the measures as JSON instead of a table.")
    dry_run: bool = DRY_RUN
    overwrite: bool = OVERWRITE


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


def form_of(section: SectionOptions, study: StudyOptions) -> str:
    """Return what is measured: "volume", "section" or "study"."""
    if section.section is not None and study.study is not None:
        raise InputError("--section and --study: give one of them")
    return "section" if section.section is not None else "study" if study.study is not None else "volume"


def refuse_others(context: typer.Context, form: str) -> None:
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


def refuse_without_effect(context: typer.Context, inputs: InputOptions, section: SectionOptions) -> None:
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


def stained_and_out(paths: list[Path], form: str, inputs: InputOptions) -> tuple[Path | None, Path]:
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
