"""The verb `export`: write a stained volume or a model for other software."""

from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

from tomostain.cli.common import ALLOW_MISSING, OVERWRITE, bars, existing, existing_model, triple
from tomostain.cli.completion import formats
from tomostain.cli.options import option_group
from tomostain.cli.verbs import verb
from tomostain.errors import InputError

_OF_VOLUMES, _OF_MODELS = ("level", "alpha", "like"), ("authors", "licence")


@option_group
class ExportOptions:
    """Options of the exported part."""

    level: int = typer.Option(
        0,
        min=0,
        help="Pyramid level: 0 is full size, each next level has half the size. A film of a small volume shows the "
        "coarsest level that it has.",
    )
    alpha: str = typer.Option(
        "paper",
        help="Opacity: paper (dark stain), tissue (everything but the background) or ct (grey value of the µCT).",
    )
    ct: Path | None = typer.Option(
        None, help="The µCT that was stained, for --alpha ct; for a model, a volume whose centre is the test input."
    )
    voxel_um: str | None = typer.Option(None, help="Voxel size of the µCT, µm, where the file does not say.")
    allow_missing: bool = ALLOW_MISSING
    like: Path | None = typer.Option(None, help="Folder of TIFF slices. The exported slices get its file names.")


@option_group
class ModelExportOptions:
    """Options of an exported model."""

    authors: list[str] | None = typer.Option(
        None, "--author", metavar="NAME", help="Author of a model, for bioimageio; repeatable."
    )
    licence: str = typer.Option(
        "", metavar="SPDX", help="Licence of a model, for bioimageio, such as CC-BY-4.0. Default: the model's own."
    )


@verb(
    order=110,
    examples="""
    tomostain export stained.ome.zarr slices --to rgba-tiff --like reco_folder
    tomostain export stained.ome.zarr slices --to rgba-tiff --alpha ct --ct reco_folder
    tomostain export stained.ome.zarr older.ome.zarr --to ome-zarr-0.4
    tomostain export stained.ome.zarr stained.vti --to vti --level 1
    tomostain export stained.ome.zarr talk.gif --to gif --level 2
    tomostain export stained.ome.zarr talk.mp4 --to mp4 --level 2
    tomostain export builtin:phantom-tb phantom-tb.onnx --to onnx
    tomostain export run/model my-model.zip --to bioimageio --author "A. Name" --licence CC-BY-4.0
""",
)
def export(
    context: typer.Context,
    options: ExportOptions,
    model_options: ModelExportOptions,
    path: Path = typer.Argument(help="A stained OME-Zarr; for onnx and bioimageio a model, a run or builtin:NAME."),
    out: Path = typer.Argument(help="File or folder to write."),
    to: str = typer.Option(
        ...,
        "--to",
        help="Format of a volume: rgba-tiff, rgb-tiff, ome-zarr-0.4 (folders), vti, nrrd, or a film: gif or mp4. "
        "Format of a model: onnx, bioimageio.",
        autocompletion=formats,
    ),
    overwrite: bool = OVERWRITE,
) -> None:
    """Write a stained volume or a model for other software.

    TIFF slices: Avizo, Dragonfly, Fiji. vti: ParaView. nrrd: 3D Slicer. ome-zarr-0.4: viewers that do not read
    OME-Zarr 0.5, the format of the stained volume. The output states the rule for the opacity.

    onnx: ONNX Runtime and other runtimes. bioimageio: a package of the BioImage Model Zoo, as ZIP file or folder. Both
    take normalised µCT. --ct, --voxel-um and --allow-missing choose its test input; by default it is a phantom.
    """
    from tomostain.config import suggest
    from tomostain.view.exchange.export import MODEL_FORMATS
    from tomostain.view.export.formats import FORMATS

    if to not in (*FORMATS, *MODEL_FORMATS):
        raise InputError(f"--to {to}: unknown format{suggest(to, [*FORMATS, *MODEL_FORMATS])}")
    _refuse_options_of_others(context, to, is_model=to in MODEL_FORMATS)
    if to in MODEL_FORMATS:
        _export_model(context, options, model_options, path, out, to=to, overwrite=overwrite)
    else:
        _export_volume(context, options, path, out, to=to, overwrite=overwrite)


def _refuse_options_of_others(context: typer.Context, to: str, *, is_model: bool) -> None:
    """Raise if an option of volumes is given for a model, or the other way round."""
    for name in _OF_VOLUMES if is_model else _OF_MODELS:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            option = "--author" if name == "authors" else f"--{name}"
            raise InputError(f"{option}: is not for {to}, a format of {'models' if is_model else 'volumes'}; omit it")


def _export_volume(
    context: typer.Context, options: ExportOptions, path: Path, out: Path, *, to: str, overwrite: bool
) -> None:
    """Write a stained volume."""
    from tomostain.models import is_builtin
    from tomostain.view import export as run_export
    from tomostain.view.exchange.export import MODEL_FORMATS
    from tomostain.view.export.placed import describe_file

    values: dict[str, Any] = asdict(options) | {"voxel_um": triple(options.voxel_um, "--voxel-um")}
    with bars(context) as progress:
        if is_builtin(path) or (path / "model.yaml").is_file() or (path / "model" / "model.yaml").is_file():
            formats = " and ".join(MODEL_FORMATS)
            raise InputError(f"{path}: is a model, and {to} is a format of volumes; formats of models: {formats}")
        existing(path, "stained volume")
        run_export(path, out, to=to, overwrite=overwrite, progress=progress, **values)
    size = ""
    with suppress(InputError, OSError):  # the export is complete, even if its input has vanished since
        size = describe_file(path, to, options.level)
    typer.echo(f"written: {out}{f', {size}' if size else ''}")


def _export_model(
    context: typer.Context,
    options: ExportOptions,
    model_options: ModelExportOptions,
    path: Path,
    out: Path,
    *,
    to: str,
    overwrite: bool,
) -> None:
    """Write a model."""
    from tomostain.view import convert_model

    if existing_model(path).name.endswith(".zarr"):
        raise InputError(f"{path}: is a volume, and {to} is a format of models; give a model, or another --to")
    with bars(context) as progress:
        exported = convert_model(
            path,
            out,
            to,
            overwrite=overwrite,
            progress=progress,
            ct=options.ct,
            voxel_um=triple(options.voxel_um, "--voxel-um"),
            allow_missing=options.allow_missing,
            authors=tuple(model_options.authors or ()),
            licence=model_options.licence,
        )
    typer.echo(f"written: {out}, {exported.describe()}")
