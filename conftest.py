"""Tests run on the CPU, whatever the machine: GPUs are hidden, also from the processes that tests start.

`pytest -m gpu` shows them and runs the tests that need one.
"""

import gc
import os
from importlib.util import find_spec

import pytest


def wants_gpu(config):
    """Return whether the tests marked `gpu` were selected."""
    return config.option.markexpr.strip() == "gpu"


def pytest_configure(config):
    """Hide GPUs unless tests that need one were selected."""
    config.addinivalue_line("markers", "gpu: needs a CUDA GPU; run these with `pytest -m gpu`")
    if not wants_gpu(config):
        # CUDA reads it when it is initialised, which no import does.
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_collection_finish():
    """Leave what exists out of garbage collections: the modules and tests take seconds to look through."""
    gc.freeze()


def pytest_collection_modifyitems(config, items):
    """Skip the tests that need a GPU unless they were selected, and where there is none."""
    reason = "needs a GPU; run `pytest -m gpu`"
    if wants_gpu(config):
        import torch

        reason = "" if torch.cuda.is_available() else "torch finds no GPU"
    for item in items:
        if reason and item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason=reason))


# Doctests are collected by importing each module; those of the programs need Triton, the plugin napari and Qt.
collect_ignore_glob = [] if find_spec("triton") else ["src/tomostain/networks/kernels/cuda/*_programs.py"]
if not (find_spec("napari") and find_spec("qtpy")):
    collect_ignore_glob.append("src/tomostain/napari/*")
