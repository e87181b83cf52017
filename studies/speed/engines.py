"""Generators in ONNX Runtime and OpenVINO, compared with this package: forward pass, one thread, in turn.

Both run the network that torch exports to ONNX, with torch's layers and the same random weights, in float32 (the
default of OpenVINO is bfloat16 on some processors). Missing engines are skipped: pip install onnx onnxscript
onnxruntime openvino (constraints.txt keeps the version of torch). All keep freed memory, like the command line.
"""

import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.measure import as_rows, paired
from benchmarks.staining import translator
from tomostain.memory import keep_freed_memory

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]

# Recipe, its normalisation, and the side of the input, px: a patch, or an exact tile.
CASES = (("tomostain", "channel", 256), ("tomostain", "channel", 1024), ("paired-cyclegan", "instance", 256))
_GREY_LEVELS = 127.5  # in one unit of [-1, 1]


def by_onnxruntime(path: Path) -> Run:
    """Return a function that runs a network in ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda image: session.run(None, {name: image})[0]


def by_openvino(path: Path) -> Run:
    """Return a function that runs a network in OpenVINO."""
    import openvino

    hints = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    model = openvino.Core().compile_model(str(path), "CPU", hints)
    return lambda image: model(image)[0]


ENGINES: dict[str, Callable[[Path], Run]] = {"onnxruntime": by_onnxruntime, "openvino": by_openvino}


def installed() -> list[str]:
    """Return the available engines and report the missing ones."""
    missing_exporters = [name for name in ("onnx", "onnxscript") if not find_spec(name)]
    available = []
    for engine in ENGINES:
        missing = [*missing_exporters, *([] if find_spec(engine) else [engine])]
        if missing:
            print(f"engines: {engine} skipped; pip install {' '.join(missing)}", file=sys.stderr)
        else:
            available.append(engine)
    return available


def runs(recipe: str, norm: str, image: NDArray[np.float32], engines: list[str]) -> dict[str, Run]:
    """Return functions that run the generator of a recipe: this package with fast kernels, and each engine."""
    accelerated, plain = (translator(recipe, fast=fast, norm=norm).network for fast in (True, False))

    @torch.inference_mode()
    def forward(image: NDArray[np.float32]) -> NDArray[np.float32]:
        return accelerated(torch.from_numpy(image)).numpy()

    functions: dict[str, Run] = {"tomostain": forward}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        if engines:
            torch.onnx.export(plain, (torch.from_numpy(image),), path, dynamo=True, verbose=False)
        for engine in engines:
            functions[f"{engine} {version(engine)}"] = ENGINES[engine](path)
    return functions


def measure(rounds: int, cases: tuple[tuple[str, str, int], ...] = CASES) -> dict[str, Any]:
    """Time each case in turn. Also return the largest difference between engines, and the smallest contrast."""
    keep_freed_memory()
    engines, rows, differences, contrasts = installed(), [], [0.0], []
    for recipe, norm, side in cases:
        channels = 1 if recipe.startswith("tomostain") else 3
        image = np.random.default_rng(0).uniform(-1, 1, (1, channels, side, side)).astype(np.float32)
        functions = runs(recipe, norm, image, engines)
        first, *others = (run(image) for run in functions.values())
        differences += [_GREY_LEVELS * float(np.abs(first - other).max()) for other in others]
        contrasts.append(_GREY_LEVELS * float(first.std()))
        calls = {f"`{recipe}`, {side} px: {way}": partial(run, image) for way, run in functions.items()}
        rows += as_rows(paired(calls, rounds))
    facts = {"largest_difference_grey_levels": max(differences), "least_std_grey_levels": min(contrasts)}
    return {"timings": rows} | facts
