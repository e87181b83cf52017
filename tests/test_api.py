"""The public names of the package: lazy, complete, and known to a type checker."""

import inspect
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tomostain as ts
from tomostain.io import write_stack

ROOT = Path(__file__).parents[1]
SCRIPT = """
from pathlib import Path

import numpy as np

import tomostain as ts

grey = np.zeros((8, 64, 64), np.uint16)
volume: ts.Volume = ts.Volume.from_array(grey, voxel_um=5)
slide: ts.Slide = ts.open_slide(Path("slide.svs"))
registration: ts.Registration = ts.register_slide(volume, slide, ts.RegisterConfig(), device="cpu")
pair: ts.Pair = registration.pair
recipe: ts.Recipe = ts.load_recipe("paired-cyclegan")
run = ts.train_model([pair], "run", recipe=recipe, max_steps=3)
stainer: ts.Stainer = ts.load_stainer(run / "model")
rgb = stainer(grey, intensity=ts.IntensityReference(background=100, bone=200))
shape: tuple[int, ...] = rgb.shape
frame = ts.evaluate_models(run, "dataset")
specimens = [ts.SpecimenInput("a", volume, slide, registration)]
dataset: ts.LoadedDataset = ts.prepare_specimens(specimens)
trained: ts.TrainedModel = ts.train_model(dataset, max_steps=3)
frame = ts.evaluate_models(trained, dataset)
measured: ts.MeasureResult = ts.measure_volume(ts.stain_volume(trained, volume), voxel_um=5)
groups = ts.measure_study([{"specimen": "a", "subject": "a", "implant": "Ti", "measures": measured}]).groups
depth: int = ts.open_stained("stained.ome.zarr").shape[0]
steps: int = ts.demo.DemoConfig().steps
try:
    ts.stain_volume("model", "reco", "stained.ome.zarr", voxel_um=5)
except ts.InputError as error:
    print(error.parameter)
"""


def test_every_public_name_exists():
    assert "stain" in dir(ts)
    assert ts.__version__
    missing = [name for name in ts.__all__ if getattr(ts, name, None) is None]
    assert not missing


def test_the_signature_of_a_function_does_not_spell_out_the_types_of_arrays():
    functions = [value for name in ts.__all__ if inspect.isfunction(value := getattr(ts, name))]
    assert len(functions) > 20
    assert [each.__name__ for each in functions if "numpy._typing" in str(inspect.signature(each))] == []


def test_what_the_functions_that_open_return_is_documented():
    for function in (ts.open_volume, ts.open_slide, ts.open_stained):
        result = inspect.signature(function).return_annotation.__name__
        assert f"Returns\n    -------\n    {result}\n" in (function.__doc__ or "")


def test_import_takes_no_array_library():
    code = "import sys, tomostain; print(sorted({'torch', 'numpy', 'pydantic'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_mypy_checks_a_script_that_uses_the_public_names(tmp_path):
    script = tmp_path / "script.py"

    def mypy(text: str) -> str:
        script.write_text(text)
        # The cache of `make lint`, where there is one: without it this takes a minute.
        command = [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml", "--cache-dir", ".mypy_cache"]
        environment = os.environ | {"MYPYPATH": str(ROOT / "src")}
        done = subprocess.run([*command, str(script)], cwd=ROOT, env=environment, capture_output=True, text=True)
        return done.stdout + done.stderr

    assert "Success" in mypy(SCRIPT)
    assert 'has no attribute "open_slides"' in mypy(SCRIPT.replace("open_slide(", "open_slides("))
    assert "Incompatible types in assignment" in mypy(SCRIPT.replace("depth: int", "depth: str"))


def test_the_installation_is_described():
    installation = ts.describe_installation()
    assert installation.tomostain == ts.__version__
    assert installation.required["torch"]
    assert set(installation.optional) >= {"vtk", "SimpleITK"}
    assert installation.devices
    assert any(line.startswith("memory: ") for line in installation.describe())


def test_a_file_is_described(tmp_path):
    write_stack(tmp_path / "volume", np.arange(24, dtype=np.uint8).reshape(2, 3, 4), voxel_um=(5.0, 5.0, 5.0))
    result = ts.check_path(str(tmp_path / "volume"))
    assert result.kind == "volume"
    assert result.describe()[1] == "  all 2 slices were read: min 0, mean 11.5, max 23"
    with pytest.raises(ts.InputError, match="nowhere: no such file or folder") as caught:
        ts.check_path(tmp_path / "nowhere")
    assert caught.value.parameter == "path"
