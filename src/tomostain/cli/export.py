"""The verb `export`: write a stained volume or a model for other software."""

from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

from tomostain.cli.common import ALLOW_MISSING, OVERWRITE, bars, existing, existing_model, triple
from tomostain.cli.completion import formats, model_names
from tomostain.cli.json_output import JSON, print_json
from tomostain.cli.options import option_group
from tomostain.cli.sections_export import NAMES, SectionChoice, export_for_qupath
from tomostain.cli.verbs import verb
from tomostain.errors import InputError

_OF_VOLUMES, _OF_MODELS = ("level", "alpha", "like"), ("authors", "licence")
_QUPATH = "qupath"


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
        None,
        help="The µCT that was stained, for --alpha ct, and for qupath as a second image; for a model, a volume whose "
        "centre is the test input.",
    )
    voxel_um: str | None = typer.Option(None, help="Voxel size of the µCT, µm, if the file does not state it.")
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


@option_group
class OutputOptions:
    """Format and output."""

    to: str = typer.Option(
        ...,
        "--to",
        help="Format of a volume: rgba-tiff, rgb-tiff, ome-zarr-0.4, qupath (folders), vti, nrrd, or a film: gif or "
        "mp4. Format of a model: onnx, bioimageio.",
        autocompletion=formats,
    )
    overwrite: bool = OVERWRITE
    as_json: bool = JSON


@verb(
    order=110,
    examples="""
    tomostain export stained.ome.zarr slices --to rgba-tiff --like reco_folder
    tomostain export stained.ome.zarr slices --to rgba-tiff --alpha ct --ct reco_folder
    tomostain export stained.ome.zarr older.ome.zarr --to ome-zarr-0.4
    tomostain export stained.ome.zarr sections --to qupath --planes 5 --ct reco_folder --labels measures
    tomostain export stained.ome.zarr sections --to qupath --pair pair --labels measures
    tomostain export stained.ome.zarr oblique --to qupath --through 800,900,900 --normal 1,0.5,0 --thickness-um 40
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
    choice: SectionChoice,
    model_options: ModelExportOptions,
    output: OutputOptions,
    path: Path = typer.Argument(
        help="A stained OME-Zarr; for onnx and bioimageio a model, a run or builtin:NAME.",
        autocompletion=model_names,
    ),
    out: Path = typer.Argument(help="File or folder to write."),
) -> None:
    """Write a stained volume or a model for other software.

    TIFF slices: Avizo, Dragonfly, Fiji. vti: ParaView. nrrd: 3D Slicer. ome-zarr-0.4: viewers that do not read
    OME-Zarr 0.5, the format of the stained volume. The output states the rule for the opacity.

    qupath: sections along any planes, as pyramidal OME-TIFF with pixel size, for QuPath and Fiji. --ct adds the µCT,
    --labels the tissue classes as annotations (GeoJSON), --pair the registered slide, all on one pixel grid. Positions
    are z,y,x in µm from the centre of the first voxel.

    onnx: ONNX Runtime and other runtimes. bioimageio: a package of the BioImage Model Zoo, as ZIP file or folder. Both
    take normalised µCT. --ct, --voxel-um and --allow-missing choose its test input; by default it is a phantom.
    """
    from tomostain.config import suggest
    from tomostain.view.exchange.export import MODEL_FORMATS
    from tomostain.view.export.formats import FORMATS

    to, overwrite = output.to, output.overwrite
    known = (*FORMATS, _QUPATH, *MODEL_FORMATS)
    if to not in known:
        raise InputError(f"--to {to}: unknown format{suggest(to, list(known))}")
    _refuse_options_of_others(context, to, is_model=to in MODEL_FORMATS)
    result: dict[str, object] = {"to": to, "source": path, "out": out, "summary": "", "sections": []}
    if to in MODEL_FORMATS:
        result["summary"] = _export_model(context, options, model_options, path, out, to=to, overwrite=overwrite)
    elif to == _QUPATH:
        _refuse_model(path, to)
        exported = export_for_qupath(
            context,
            choice,
            path,
            out,
            ct=options.ct,
            voxel_um=triple(options.voxel_um, "--voxel-um"),
            allow_missing=options.allow_missing,
            overwrite=overwrite,
        )
        result |= {"summary": exported.describe(), "sections": exported.to_dict()["sections"]}
    else:
        result["summary"] = _export_volume(context, options, path, out, to=to, overwrite=overwrite)
    if output.as_json:
        print_json(result)
    else:
        typer.echo(f"written: {out}{f', {summary}' if (summary := result['summary']) else ''}")


def _refuse_options_of_others(context: typer.Context, to: str, *, is_model: bool) -> None:
    """Raise if an option of another kind of format is given."""
    unused: tuple[str, ...]
    if to == _QUPATH:
        unused, kind = (*_OF_VOLUMES, *_OF_MODELS), "sections"
    elif is_model:
        unused, kind = (*_OF_VOLUMES, *NAMES), "models"
    else:
        unused, kind = (*_OF_MODELS, *NAMES), "volumes"
    for name in unused:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            option = "--author" if name == "authors" else f"--{name.replace('_', '-')}"
            raise InputError(f"{option}: is not for {to}, a format of {kind}; omit it")


def _refuse_model(path: Path, to: str) -> None:
    """Raise if a path is a model, and not a stained volume."""
    from tomostain.models import is_builtin
    from tomostain.view.exchange.export import MODEL_FORMATS

    if is_builtin(path) or (path / "model.yaml").is_file() or (path / "model" / "model.yaml").is_file():
        formats = " and ".join(MODEL_FORMATS)
        raise InputError(f"{path}: is a model, and {to} is a format of volumes; formats of models: {formats}")


def _export_volume(
    context: typer.Context, options: ExportOptions, path: Path, out: Path, *, to: str, overwrite: bool
) -> str:
    """Write a stained volume. Return the voxel size in words."""
    from tomostain.view import export as run_export
    from tomostain.view.export.placed import describe_file

    values: dict[str, Any] = asdict(options) | {"voxel_um": triple(options.voxel_um, "--voxel-um")}
    with bars(context) as progress:
        _refuse_model(path, to)
        existing(path, "stained volume")
        run_export(path, out, to=to, overwrite=overwrite, progress=progress, **values)
    with suppress(InputError, OSError):  # the export is complete, even if its input has vanished since
        return describe_file(path, to, options.level)
    return ""


def _export_model(
    context: typer.Context,
    options: ExportOptions,
    model_options: ModelExportOptions,
    path: Path,
    out: Path,
    *,
    to: str,
    overwrite: bool,
) -> str:
    """Write a model. Return its difference from PyTorch in words."""
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
    return exported.describe()
