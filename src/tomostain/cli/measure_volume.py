"""A volume in the verb `measure`: the dry run, and the measurement."""

from pathlib import Path

import typer

from tomostain.cli.common import bars, existing, triple
from tomostain.cli.measure_options import InputOptions
from tomostain.cli.measure_settings import MeasureRun, show_measures

_SECONDS_PER_MEGAVOXEL = 5.0


def measure_one_volume(context: typer.Context, stained: Path | None, inputs: InputOptions, run: MeasureRun) -> None:
    """Measure a volume, or with `dry_run` print what would be measured."""
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
    show_measures(result.rows, result.notes, page, run)
    if result.stained is not None and result.labels_path is not None and not run.json:
        typer.echo(f"next:    open {result.labels_path} next to {result.stained} in napari")


def _plan(stained: Path | None, inputs: InputOptions, ensemble: list[Path], run: MeasureRun) -> str:
    """Check the inputs; return what would be done, its size and time."""
    from tomostain.io import open_stained, open_volume
    from tomostain.io.metadata.units import format_sides
    from tomostain.measure.label_files import check_grid, open_labels
    from tomostain.measure.labelling import MeasureInputs, select_classifier
    from tomostain.measure.result_files import check_output
    from tomostain.measure.stained_ct import open_stained_ct

    sources = [path for path in (stained, inputs.ct, inputs.labels, inputs.uncertainty, *ensemble) if path is not None]
    check_output(run.out, sources=sources, overwrite=run.overwrite)
    grid = None if stained is None else open_stained(stained)
    for path in ensemble:
        check_grid(path, open_stained(path), grid or open_stained(path))
    size_um = triple(inputs.voxel_um, "--voxel-um")
    if inputs.ct is None or grid is None:
        ct = None if inputs.ct is None else open_volume(inputs.ct, voxel_um=size_um)
    else:
        ct = open_stained_ct(inputs.ct, grid, size_um).volume
    labels = None if inputs.labels is None else open_labels(inputs.labels, grid or ct, voxel_um=size_um)
    measured = grid or ct or labels
    assert measured is not None  # the paths were checked
    if inputs.ct is not None and ct is not None:
        check_grid(inputs.ct, ct, measured)
    if labels is None:
        select_classifier(MeasureInputs(grid, ct), run.config, run.classifier)
    voxels = measured.shape[0] * measured.shape[1] * measured.shape[2]
    size, side = (format_sides(each) for each in (measured.shape, measured.voxel_um))
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


def _images(stained: Path | None, inputs: InputOptions, run: MeasureRun) -> str:
    images = [name for name, path in (("stain", stained), ("µCT", inputs.ct)) if path is not None]
    named = {"stain": ["stain"], "ct": ["µCT"], "both": ["stain", "µCT"]}.get(run.config.classes_from, images)
    return "the " + " and the ".join(named)
