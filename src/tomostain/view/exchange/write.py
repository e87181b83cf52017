"""Write a model as ONNX or as a package, after a comparison of ONNX Runtime with PyTorch."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tomostain.io.atomic import atomic_file, atomic_folder, temporary_folder
from tomostain.io.models import Model, load_model
from tomostain.models import model_name
from tomostain.paths import StrPath
from tomostain.progress import Progress
from tomostain.stain.translator import load_translator
from tomostain.view.exchange.bioimageio import WEIGHTS, package_text, write_package
from tomostain.view.exchange.graph import ExchangeNetwork, require_onnx, trace_graph
from tomostain.view.exchange.onnx_file import add_metadata, check_parity, onnx_files, provenance, run_onnx
from tomostain.view.exchange.options import ExportedModel, ModelExportOptions
from tomostain.view.exchange.sample import Sample, make_sample
from tomostain.view.exchange.zipped import zip_folder

_log = logging.getLogger("tomostain.view")


def write_model(
    model: StrPath, out: Path, to: str, chosen: ModelExportOptions, *, overwrite: bool, progress: Progress
) -> ExportedModel:
    """Write a model; parameters, result and errors as in `tomostain.view.convert_model`."""
    require_onnx()
    loaded, name = load_model(model), model_name(model)
    text = package_text(loaded, name, chosen.authors, chosen.licence) if to == "bioimageio" else None
    network = ExchangeNetwork(loaded)
    progress("test input", 0, 3)
    sample = make_sample(loaded.spec, network.shapes, chosen.ct, chosen.voxel_um, allow_missing=chosen.allow_missing)
    expected = stain_sample(loaded, sample)
    progress("graph", 1, 3)
    program = trace_graph(network)
    metadata = provenance(loaded, name, network.shapes)
    add_metadata(program, metadata, f"Virtual staining of µCT: {loaded.spec.stain}. {metadata['tomostain.limits']}")
    progress("comparison with PyTorch", 2, 3)
    if text is None:
        with onnx_files(program, out, overwrite=overwrite) as file:
            colours = run_onnx(file, sample)
            difference, size = check_parity(colours, expected, model), file.stat().st_size
    else:
        with _package_folder(out, overwrite=overwrite) as folder:
            with onnx_files(program, folder / WEIGHTS, overwrite=False) as file:
                colours = run_onnx(file, sample)
                difference = check_parity(colours, expected, model)
            write_package(folder, network, loaded, text, sample, colours)
        size = _size(out)
    progress("written", 3, 3)
    _log.info("%s: exported as %s, opset and shapes %s", out, to, network.shapes)
    return ExportedModel(out, to, network.shapes, difference, size)


def stain_sample(model: Model, sample: Sample) -> NDArray[np.float32]:
    """Return the colours (1, 3, H, W) that `tomostain.stain` gives the test input on a CPU, not rounded."""
    translator = load_translator(model.path, "cpu")
    parts = [sample.ct] if sample.noise is None else [sample.ct, sample.noise]
    tile = np.concatenate(parts, axis=1)
    colours: NDArray[np.float32] = translator(torch.from_numpy(tile[:, 0] if tile.shape[1] == 1 else tile)).numpy()
    return colours


@contextmanager
def _package_folder(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield a folder for the files of a package. At the end it becomes `out`: a ZIP file or a folder."""
    if out.suffix.lower() == ".zip":
        with temporary_folder("tomostain-bioimageio") as folder, atomic_file(out, overwrite) as temporary:
            yield folder
            zip_folder(folder, temporary)
    else:
        with atomic_folder(out, overwrite) as folder:
            yield folder


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*")) if path.is_dir() else path.stat().st_size
