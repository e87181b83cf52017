"""The verb `check`: describe a file or folder and verify it."""

from functools import partial
from pathlib import Path

import typer

from tomostain.cli.common import bars, existing, triple
from tomostain.cli.verbs import verb
from tomostain.errors import InputError


@verb(
    order=130,
    examples="""
    tomostain check reco_folder
    tomostain check slide.svs
    tomostain check dataset
    tomostain check run/model
    tomostain check stained.ome.zarr
""",
)
def check(
    context: typer.Context,
    path: Path = typer.Argument(help="A volume, slide, dataset, run, model or stained volume."),
    voxel_um: str | None = typer.Option(None, help="Voxel or pixel size, µm, where the file does not say."),
) -> None:
    """Say what something is and whether it is whole, before long work is started on it."""
    existing(path, "file or folder")
    size = triple(voxel_um, "--voxel-um")
    for name, is_kind, describe in (
        ("dataset", (path / "dataset.yaml").is_file(), _dataset),
        ("run", (path / "metrics.csv").is_file(), _run),
        ("model", (path / "model.yaml").is_file(), _model),
        ("stained volume", path.name.endswith(".zarr") and _is_stained(path), partial(_stained, context=context)),
    ):
        if is_kind:
            typer.echo(f"{path}: {name}")
            describe(path)
            return
    _image(path, size)


def _dataset(path: Path) -> None:
    from tomostain.dataset.dataset import load_dataset

    dataset = load_dataset(path)
    for pair_id in dataset.ids:
        pair = dataset.load(pair_id)
        share = pair.mask.mean()
        typer.echo(f"  {pair_id}: {pair.ct.shape[0]} x {pair.ct.shape[1]} px, {pair.implant}, mask {share:.0%}")
    typer.echo(f"  voxel size {dataset.voxel_um:g} µm, {len(dataset.folds)} folds, for testing: {list(dataset.test)}")


def _run(path: Path) -> None:
    rows = (path / "metrics.csv").read_text(encoding="utf-8").strip().splitlines()
    typer.echo(f"  {len(rows) - 1} rows in metrics.csv; model: {'yes' if (path / 'model').is_dir() else 'not yet'}")
    if (path / "model").is_dir():
        _model(path / "model")


def _model(path: Path) -> None:
    from tomostain.io import load_model

    model = load_model(path)
    spec = model.spec
    typer.echo(
        f"  checksums agree; recipe {spec.recipe}, {spec.steps} steps, voxel size {spec.voxel_um:g} µm, {spec.stain}"
    )


def _is_stained(path: Path) -> bool:
    metadata = path / "zarr.json"
    return metadata.is_file() and '"tomostain"' in metadata.read_text(encoding="utf-8")


def _stained(path: Path, context: typer.Context) -> None:
    from tomostain.io import check_stained, open_stained

    stained = open_stained(path)
    typer.echo(f"  {_times(stained.shape)} voxels of {_times(stained.voxel_um)} µm (z, y, x)")
    with bars(context) as progress:
        bad = check_stained(path, progress)
    if bad is None:
        typer.echo("  whole; it keeps no checksums (0/SHA256SUMS), so whether it is what was written cannot be told")
        return
    if bad:
        named = ", ".join(bad[:3]) + (", …" if len(bad) > 3 else "")
        raise InputError(f"{path}: {len(bad)} damaged shard(s): {named}; the same stain command again heals them")
    typer.echo("  whole; checksums agree")


def _image(path: Path, size: tuple[float, float, float] | None) -> None:
    """Describe a volume or, failing that, a slide; if neither opens, say why it is no volume."""
    from tomostain.io import open_slide, open_volume

    try:
        volume = open_volume(path, voxel_um=size)
    except InputError as no_volume:
        if path.is_dir():
            raise
        try:
            slide = open_slide(path, pixel_um=size[1] if size else None)
        except InputError as no_slide:
            raise InputError(f"{no_volume}; nor is it a slide: {no_slide}") from None
        typer.echo(f"{path}: slide, {_times(slide.shape)} px of {slide.pixel_um:g} µm, {len(slide.levels)} level(s)")
        return
    typer.echo(f"{path}: volume, {volume.describe()}")
    sample = volume.read(volume.shape[0] // 2, volume.shape[0] // 2 + 1)
    typer.echo(f"  middle slice: least {sample.min():g}, mean {sample.mean():.5g}, most {sample.max():g}")


def _times(values: tuple[float, ...]) -> str:
    return " x ".join(f"{value:g}" for value in values)
