"""The examples of `--help`: which are executed, and what is changed in them, because the data are tiny."""

import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import yaml

from tests.docs.test_docs_pages import remove_outputs, smaller
from tests.support.help_inputs import SMALL_PHANTOM, copy_inputs
from tests.test_every_command import commands
from tomostain.cli.main import run
from tomostain.view import export
from tomostain.view.render.flight import fly_through

NOT_EXECUTED = {
    "demo": "tests/test_demo.py runs it",
    "demo my-demo --from-scratch --steps 2000": "tests/test_demo.py runs it",
    "stain run/model reco_folder stained.ome.zarr --workers 4":
        "starts processes; tests/stain/test_stain_sharing.py runs them",
    "stain run/model reco_folder stained.ome.zarr --scheduler tcp://node7:8786":
        "needs a Dask cluster; tests/stain/test_stain_sharing.py starts one",
    "evaluate run dataset evaluation --lpips squeeze --lpips-weights squeezenet1_1-b8a52dc0.pth":
        "needs a file that is downloaded",
    "measure measures --section dataset/pairs/rat5 --model run/model --volume stained.ome.zarr":
        "needs an implant in the plane; tests/cli/test_cli_measure.py measures one",
    "view stained.ome.zarr": "opens a window",
    "view stained.ome.zarr --browser": "serves until Ctrl-C",
    "view stained.ome.zarr --browser --ct reco_folder --voxel-um 5": "serves until Ctrl-C",
    "view stained.ome.zarr --browser --labels measures/labels.ome.zarr": "serves until Ctrl-C",
}  # fmt: skip
"""The examples that are not executed, with the reason."""

CHANGED = {
    "/entry/data --voxel-um 5 --gaussian": "/entry/data --voxel-um 20 --gaussian",
    "stained.png --voxel-um 5": "stained.png --voxel-um 20",
    "pair --voxel-um 5": "pair --voxel-um 20",
    "--voxel-um 10 --pixel-um 2.5": "--voxel-um 20 --pixel-um 20 --accept",
    "--through 800,900,900": "--through 200,900,900",
    "--planes 5": "--planes 2",
    "--size 128 --voxel-um 40": "--size 48 --voxel-um 50",
    "--size 64,256,256": "--size 16,48,48",
    "--diameter-mm 2": "--diameter-mm 0.445",
    # The build of a small model takes a quarter of the time.
    "builtin:phantom-tb phantom-tb.onnx": "run/model phantom-tb.onnx",
}
"""What is replaced in the examples, because the data have another size."""

OTHER_INPUTS = {
    "--metric lacunae": "small-pixels",
    "--noise-samples": "noisy",
    "--level": "levels",
}
"""Text of examples that need other inputs under the same names, and the folder in which these are."""


def help_examples() -> list[str]:
    """Return every example of `--help` once, without the name of the program."""
    lines = (shlex.join(words) for where, words in commands() if where.endswith(" --help"))
    return list(dict.fromkeys(lines))


def run_example(line: str, inputs: Path, folder: Path) -> int:
    """Run an example at toy size in the current folder, and return its exit code."""
    for text, other in CHANGED.items():
        line = line.replace(text, other)
    words = shlex.split(line)
    source = next((inputs / name for text, name in OTHER_INPUTS.items() if text in line), inputs)
    copy_inputs(source, folder, words)
    copy_inputs(inputs, folder, words)
    words = _smaller(words, folder)
    remove_outputs(words)
    if "--part" in words:
        shutil.rmtree(folder / "stained.ome.zarr")
    if "pair/candidate-2.yaml" in words:
        _keep_candidates(folder / "pair")
    with patch.object(sys.modules[export.__module__], "fly_through", _short_film):
        return run(["-q", *words])


def _keep_candidates(pair: Path) -> None:
    """Remove all but what an uncertain registration writes."""
    for path in pair.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif not path.name.startswith("candidate"):
            path.unlink()


def _short_film(*arguments: Any, **options: Any) -> Iterator[Any]:
    return fly_through(*arguments, **options | {"frames": 2, "size": (128, 96)})


def _smaller(words: list[str], folder: Path) -> list[str]:
    if words[0] != "phantom":
        return smaller(words, Path("help.md"), folder)
    if "--config" in words:
        return words
    (folder / ".toy.yaml").write_text(yaml.safe_dump(SMALL_PHANTOM), encoding="utf-8")
    return [*words, "--config", ".toy.yaml"]
