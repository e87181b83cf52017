"""The verb `measure`: the numbers of an implant study, from a stained volume, from a section, or for a study."""

from pathlib import Path

import typer

from tomostain.cli.common import bars, existing, existing_model, use_threads
from tomostain.cli.measure_options import (
    InputOptions,
    RunOptions,
    SectionOptions,
    StudyOptions,
    TissueOptions,
    form_of,
    refuse_others,
    refuse_without_effect,
    stained_and_out,
)
from tomostain.cli.measure_settings import MeasureRun, measure_config, show_measures
from tomostain.cli.measure_volume import measure_one_volume
from tomostain.cli.options import stated
from tomostain.cli.verbs import verb
from tomostain.errors import InputError


@verb(
    order=85,
    output="paths",
    renamed={"--also": "--ensemble"},
    examples="""
    A volume:
    tomostain measure stained.ome.zarr measures
    tomostain measure stained.ome.zarr measures --ct reco_folder --implant Mg-10Gd --weeks 8
    tomostain measure stained.ome.zarr measures --initial screw.ome.zarr --weeks 8 --diameter-mm 2
    tomostain measure stained.ome.zarr measures --ensemble stained-fold1.ome.zarr --uncertainty uncertainty.ome.zarr
    tomostain measure measures --ct reco_folder      # without a stained volume
    tomostain measure measures2 --labels corrected.nrrd      # labels that a person corrected
    tomostain measure measures2 --labels corrected.tif --voxel-um 20      # if the file does not state the voxel size
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
    run: RunOptions,
    paths: list[Path] = typer.Argument(
        metavar="[STAINED] OUT", help="The stained volume, if there is one, and a folder for the results."
    ),
) -> None:
    """Measure bone-implant contact, bone, degradation and more, as numbers with units.

    Writes OUT/measures.csv and .json, labels.ome.zarr (which opens next to the stain), maps, and OUT/report.html.
    With --section, the real and the virtual section are measured in the same way, side by side.
    With --study, groups of specimens are compared with the animal as the unit.
    """
    use_threads(context)
    form = form_of(of_section, of_study)
    refuse_others(context, form)
    refuse_without_effect(context, inputs, of_section)
    stained, out = stained_and_out(paths, form, inputs)
    if form == "study":
        _compare(context, of_study, run, out)
        return
    settings = measure_config(run.config, {**stated(tissue), **of_section.settings}, inputs, run.shell_um)
    if run.classifier is not None and not run.classifier.startswith("builtin:"):
        existing(Path(run.classifier), "classifier")
    measurement = MeasureRun(settings, out, run.classifier, run.device, run.json, run.dry_run, run.overwrite)
    if form == "section":
        _measure_section(context, of_section, measurement)
    else:
        measure_one_volume(context, stained, inputs, measurement)


def _measure_section(context: typer.Context, options: SectionOptions, run: MeasureRun) -> None:
    assert options.section is not None
    pair = existing(options.section, "pair")
    model = None if options.model is None else existing_model(options.model)
    volume = None if options.volume is None else existing(options.volume, "stained volume")
    if model is None and volume is None:
        raise InputError("--section: give --model or --volume, from which the virtual section is made")
    if run.dry_run:
        from tomostain.dataset.pair import load_pair
        from tomostain.measure.result_files import check_output
        from tomostain.measure.section_classifier import select_section_classifier

        check_output(run.out, sources=[pair], overwrite=run.overwrite)
        select_section_classifier(load_pair(pair), run.config, run.classifier)
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
    show_measures(result.rows, result.notes, page, run)


def _compare(context: typer.Context, options: StudyOptions, run: RunOptions, out: Path) -> None:
    from tomostain.measure.config import StudyConfig
    from tomostain.measure.study import measure_study, study_json, study_text

    assert options.study is not None
    table = existing(options.study, "table")
    config = StudyConfig(by=tuple(options.by or ()), measures=tuple(options.measures or ()), source=options.source)
    if run.dry_run:
        from tomostain.measure.study_table import read_study

        study = read_study(table, config)
        groups = ", ".join(dict.fromkeys(f"'{each.group}'" for each in study.specimens))
        typer.echo(f"table:    {table}: {len(study.specimens)} specimens\ngroups:   {groups}")
        typer.echo(f"measures: {len(study.values)}\nwrites:   {out}/groups.csv, values.csv, report.html")
        return
    from tomostain.view.report.study import study_page

    with bars(context) as progress:
        result = measure_study(table, out, config=config, overwrite=run.overwrite, progress=progress)
        page = study_page(result)
    if run.json:
        typer.echo(study_json(result))
        return
    typer.echo(study_text(result))
    for note in result.notes:
        typer.echo(f"note:    {note}")
    typer.echo(f"tables:  {out / 'groups.csv'}, {out / 'values.csv'}\npage:    {page}")
