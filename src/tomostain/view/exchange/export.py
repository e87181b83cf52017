"""Export a model: as one ONNX file, or as a package of the BioImage Model Zoo."""

from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

from tomostain.config import suggest
from tomostain.errors import InputError
from tomostain.io.output_folder import source_paths
from tomostain.io.outputs import FolderKind, check_output, check_output_file
from tomostain.models import find_model
from tomostain.paths import StrPath
from tomostain.progress import Progress, silent
from tomostain.view.exchange.options import RDF, ExportedModel, ModelExportKeywords, ModelExportOptions

MODEL_FORMATS = ("onnx", "bioimageio")
_PACKAGE = FolderKind("bioimageio package", r"[^/]+\.(yaml|onnx|onnx\.data|npy|png|md|txt)", RDF)


def convert_model(
    model: StrPath,
    out: StrPath,
    to: str = "onnx",
    *,
    overwrite: bool = False,
    progress: Progress = silent,
    **options: Unpack[ModelExportKeywords],
) -> ExportedModel:
    """Write a model for other software.

    The graph takes normalised µCT (background 10000, bone 30000) and returns RGB from 0 to 255, both float32. It is
    run in ONNX Runtime and compared with PyTorch before anything is written. Nothing is downloaded.

    Parameters
    ----------
    model : path
        ``builtin:NAME``, a model folder or a run.
    out : path
        ``onnx``: a file ``NAME.onnx``. ``bioimageio``: a file ``NAME.zip``, or a folder.
    to : {"onnx", "bioimageio"}
    overwrite : bool
        Replace an existing file or folder.
    progress : Progress
        Listener.
    **options
        The fields of `ModelExportOptions`.

    Returns
    -------
    ExportedModel

    Raises
    ------
    InputError
        If the format is unknown, the output exists, the packages are missing, the network cannot be written as ONNX,
        ONNX Runtime gives other colours than PyTorch, or authors or a licence are missing for ``bioimageio``.
    """
    chosen, out = ModelExportOptions(**options), Path(out)
    if to not in MODEL_FORMATS:
        raise InputError(f"`to` {to}: unknown format of models{suggest(to, list(MODEL_FORMATS))}", parameter="to")
    _check_output(out, to, source_paths(find_model(model), chosen.ct), overwrite=overwrite)
    if to == "onnx" and (chosen.authors or chosen.licence):
        name = "authors" if chosen.authors else "licence"
        raise InputError(f"`{name}`: is for bioimageio; an onnx file has none, omit it", parameter=name)
    from tomostain.view.exchange.write import write_model

    return write_model(model, out, to, chosen, overwrite=overwrite, progress=progress)


def _check_output(out: Path, to: str, sources: Sequence[StrPath], *, overwrite: bool) -> None:
    """Raise if the name of the output does not fit the format, or the output exists."""
    if to == "onnx" and out.suffix.lower() != ".onnx":
        raise InputError(f"{out}: an onnx file must be named *.onnx", parameter="out")
    if to == "onnx" or out.suffix.lower() == ".zip":
        check_output_file(out, f"{to} file", sources, overwrite=overwrite)
    else:
        check_output(out, _PACKAGE, sources, overwrite=overwrite)
