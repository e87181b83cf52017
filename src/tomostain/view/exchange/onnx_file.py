"""ONNX files of models: written with their provenance, and compared with PyTorch before they appear."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tomostain import __version__
from tomostain.errors import InputError
from tomostain.io.atomic import atomic_file, refuse_existing
from tomostain.io.model_card import LIMITS
from tomostain.io.models import Model
from tomostain.paths import StrPath
from tomostain.view.exchange.sample import Sample
from tomostain.view.exchange.shapes import CT, HISTOLOGY, NOISE, GraphShapes

if TYPE_CHECKING:
    from torch.onnx import ONNXProgram

MAX_FILE_BYTES = 2**31 - 2**20
"""Maximum size of the weights in one ONNX file, whose format (protobuf) ends at 2 GiB."""
IR_VERSION = 8
"""Version of the file format, as old as `OPSET` allows: other runtimes are often older than ONNX Runtime."""
MAX_DIFFERENCE = 1.0
"""Maximum difference between ONNX Runtime and PyTorch, grey levels."""
INPUT_RANGE = "normalised µCT, float32: background 10000, bone 30000; {} to {} is used, values outside are clipped"
OUTPUT_RANGE = "RGB, float32: 0 to 255, not rounded"


def provenance(model: Model, name: str, shapes: GraphShapes) -> dict[str, str]:
    """Return what an ONNX file says about its model, as text by key.

    Parameters
    ----------
    model : Model
    name : str
        Name of the model.
    shapes : GraphShapes
    """
    spec = model.spec
    values: dict[str, object] = {
        "version": __version__,
        "model": name,
        "model_hash": model.hash,
        "model_version": spec.tomostain_version,
        "stain": spec.stain,
        "recipe": spec.recipe,
        "voxel_um": spec.voxel_um,
        "patch_px": spec.patch_px,
        "slices": shapes.slices,
        "size_multiple": shapes.multiple,
        "min_size_px": shapes.minimum,
        "input": INPUT_RANGE.format(*spec.ct_window),
        "output": OUTPUT_RANGE,
        "licence": spec.licence or "not stated",
        "metrics": json.dumps(spec.metrics),
        "limits": " ".join(LIMITS.split()),
    }
    if spec.noise is not None and spec.noise_channels:
        values |= {"noise_channels": spec.noise_channels, "noise_correlation_px": spec.noise.correlation_px}
    return {f"tomostain.{key}": str(value) for key, value in values.items()}


@contextmanager
def onnx_files(program: "ONNXProgram", out: Path, *, overwrite: bool) -> Iterator[Path]:
    """Write a graph; yield its path for a check. The files get their names if the block ends without an error.

    Weights above `MAX_FILE_BYTES` are written as ``OUT.data`` next to ``OUT``; they cannot be one file.

    Raises
    ------
    InputError
        If a file exists and `overwrite` is false.
    """
    if _weight_bytes(program) <= MAX_FILE_BYTES:
        with atomic_file(out, overwrite) as temporary:
            program.save(temporary, external_data=False)
            yield temporary
        return
    data = out.with_name(f"{out.name}.data")
    refuse_existing(out, overwrite)
    with atomic_file(data, overwrite) as data_file, atomic_file(out, overwrite) as graph_file:
        # The graph names the file of the weights, so both are written under their final names first.
        folder = graph_file.with_name(f"{graph_file.name}.parts")
        folder.mkdir()
        try:
            program.save(folder / out.name, external_data=True)
            yield folder / out.name
            (folder / data.name).replace(data_file)
            (folder / out.name).replace(graph_file)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _weight_bytes(program: "ONNXProgram") -> int:
    values = program.model.graph.initializers.values()
    return sum(value.const_value.nbytes for value in values if value.const_value is not None)


def add_metadata(program: "ONNXProgram", metadata: dict[str, str], doc: str) -> None:
    """Store provenance and a description in a graph, instead of what the exporter notes on each operation.

    Its notes hold the paths of source files on this machine.
    """
    model = program.model
    notes = [model.metadata_props, model.graph.metadata_props]
    notes += [value.metadata_props for value in (*model.graph.inputs, *model.graph.initializers.values())]
    for node in model.graph:
        notes += [node.metadata_props, *(value.metadata_props for value in node.outputs)]
    for note in notes:
        note.clear()
    model.metadata_props.update(metadata)
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = "tomostain", __version__
    model.doc_string = doc


def run_onnx(path: StrPath, sample: Sample) -> NDArray[np.float32]:
    """Run an ONNX file on the CPU.

    Returns
    -------
    ndarray of float32, shape (B, 3, H, W)
        Colours in [0, 255].
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(os.fspath(path), providers=["CPUExecutionProvider"])
    inputs = {CT: sample.ct} if sample.noise is None else {CT: sample.ct, NOISE: sample.noise}
    colours: NDArray[np.float32] = session.run([HISTOLOGY], inputs)[0]
    return colours


def check_parity(colours: NDArray[np.float32], expected: NDArray[np.float32], where: object) -> float:
    """Return the maximum difference between the colours of ONNX Runtime and of PyTorch, grey levels.

    Raises
    ------
    InputError
        If it is above `MAX_DIFFERENCE`, or not a number.
    """
    difference = float(np.abs(colours - expected).max())
    if not difference <= MAX_DIFFERENCE:
        raise InputError(
            f"{where}: ONNX Runtime and PyTorch differ by {difference:.3g} grey levels, more than {MAX_DIFFERENCE:g}; "
            "nothing was written. Other versions of torch or onnxruntime may agree"
        )
    return difference
