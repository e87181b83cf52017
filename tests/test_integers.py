"""Conversion to integers: never a value from NaN, infinity or a number outside the range."""

import ast
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from tomostain.errors import InputError
from tomostain.integers import refuse_not_finite, to_integers

ROOT = Path(__file__).parents[1]

# The only ones: the function itself, and an index that fails for NaN, where a check would make the GPU wait in a loop.
UNCHECKED = [
    "integers.py: whole.to(dtype)",
    "integers.py: whole.astype(dtype)",
    "register/template_sampling.py: index.floor().long()",
    # Values outside 0 to 255 are counted on the device, and the count is read with the slices.
    "stain/pixels.py: colours.round().to(torch.uint8)",
    # Means of bytes, where a check would make a GPU wait.
    "stain/fusion.py: values.round_().to(torch.uint8)",
    # Clamped displacements in a training step, where a check would make a GPU wait; losses are checked instead.
    "train/warp.py: row.detach().floor().long()",
    "train/warp.py: column.detach().floor().long()",
]
OF_FLOATS = re.compile(r"rint|round|floor|ceil|clip|clamp|mean|float|linspace|percentile|interpolate| / |\d\.\d|whole")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_values_that_are_not_finite_are_an_error(bad: float, clip: bool, kind: str) -> None:
    values = np.full((3, 4), 7.0, np.float32)
    values[1, 2] = values[0, 0] = bad
    tested = torch.from_numpy(values) if kind == "torch" else values
    dtype = torch.uint8 if kind == "torch" else np.uint8
    with pytest.raises(InputError, match=r"^slice 3: 2 of 12 values are not finite numbers$"):
        to_integers(tested, dtype, "slice 3", clip=clip)
    with pytest.raises(InputError, match="2 of 12"):
        refuse_not_finite(tested, "slice 3")


@pytest.mark.parametrize("value", [-1.0, 255.6, 1e30])
def test_values_outside_the_range_are_an_error_unless_clipped(value: float) -> None:
    values = np.array([0.0, value], np.float32)
    for each, dtype in ((values, np.uint8), (torch.from_numpy(values), torch.uint8)):
        with pytest.raises(InputError, match=r"colours: values from .* to .*, outside 0 to 255"):
            to_integers(each, dtype, "colours")
        assert to_integers(each, dtype, "colours", clip=True).tolist() == [0, 0 if value < 0 else 255]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64])
def test_finite_values_are_converted_as_by_numpy(dtype: type[np.integer]) -> None:
    values = np.random.default_rng(0).uniform(0, 255, (40, 50)).astype(np.float32)
    np.testing.assert_array_equal(to_integers(values, dtype, "x"), np.rint(values).astype(dtype))
    np.testing.assert_array_equal(to_integers(values, dtype, "x", rounded=False), values.astype(dtype))
    assert to_integers(np.zeros((0, 3)), dtype, "x").shape == (0, 3)
    assert to_integers(torch.from_numpy(values), torch.uint8, "x").equal(torch.from_numpy(np.rint(values)).byte())


def test_no_warning_of_numpy_leaks() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError):
            to_integers(np.array([np.nan, np.inf], np.float16), np.uint8, "x")


def _casts(path: Path) -> list[str]:
    """Return the casts of expressions that look like floating-point numbers to integers."""
    casts = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        kind = " ".join(ast.unparse(argument) for argument in node.args)
        is_cast = (node.func.attr in ("byte", "long", "int", "short") and not node.args) or (
            node.func.attr in ("astype", "to") and re.search(r"int(\d|p|\)|$)|long|^dtype$", kind)
        )
        if is_cast and OF_FLOATS.search(ast.unparse(node.func.value)):
            casts.append(ast.unparse(node))
    return casts


# The source distribution has no studies and no benchmarks.
FOLDERS = [folder for folder in ("src/tomostain", "studies", "benchmarks") if (ROOT / folder).is_dir()]


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_other_place_casts_floats_to_integers(folder: str) -> None:
    paths = [path for path in sorted((ROOT / folder).rglob("*.py")) if not path.name.startswith("test_")]
    casts = [f"{path.relative_to(ROOT / folder).as_posix()}: {cast}" for path in paths for cast in _casts(path)]
    assert set(casts) - set(UNCHECKED) == set(), "use tomostain.integers.to_integers"
    assert len(paths) > 5
