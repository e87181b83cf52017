"""The pages "Add a …": their file lists are followed in a copy of the source, and each extension works.

The copy gets the files that the pages list for an extension in this package, and nothing else. One process then uses
all of them, in Python and by the command line. The losses with networks of their own come from an installed package.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.support.training import toy_pair
from tomostain.dataset.writer import save_dataset

ROOT = Path(__file__).parents[2]
PAGES = {name: (ROOT / f"docs/how-to/add-a-{name}.md").read_text(encoding="utf-8")
         for name in ("generator", "loss", "metric", "volume-reader", "verb")}  # fmt: skip
VALUES = np.random.default_rng(0).integers(8000, 34000, (2, 48, 64)).astype("<u2")

SCRIPT = '''
import contextlib, io, json, sys
import tomostain as ts
from tomostain.cli.main import run

def call(*words):
    """Run a command; return its exit code and what it printed."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run([*words])
    return {"code": code, "out": out.getvalue(), "err": err.getvalue()}

results = {"package": ts.__file__}
results["volume"] = [list(ts.open_volume("scan.xyz").shape), ts.open_volume("scan.xyz")[1][0, :3].tolist()]
for name, words in json.loads(sys.argv[1]).items():
    results[name] = call(*words)
from tomostain.evaluate.metrics import available_metrics
results["metrics"] = {m.name: [m.heading[:-2], m.scope, m.summary] for m in available_metrics().values()}
print(json.dumps(results))
'''

COMMANDS = {
    "check": ["check", "scan.xyz"],
    "count": ["count", "scan.xyz"],
    "size": ["size", "scan.xyz", "--json"],
    "help": ["--help"],
    "train": ["train", "dataset", "run", "--recipe", "recipe.yaml", "--max-steps", "10", "--device", "cpu"],
    "stain": ["stain", "run/model", "scan.xyz", "stained.ome.zarr", "--background", "10000", "--bone", "30000",
              "--device", "cpu"],
    "evaluate": ["evaluate", "run", "dataset", "evaluation", "--metric", "mae", "--patch-px", "32", "--device", "cpu",
                 "--lpips", "none", "--no-baselines"],
}  # fmt: skip


def part(name: str, heading: str = "## In this package") -> str:
    """Return a section of a page."""
    text = PAGES[name]
    assert f"{heading}\n" in text, f"{name}: no {heading}"
    return text.partition(f"{heading}\n")[2].partition("\n## ")[0]


def blocks(text: str, language: str = "python") -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def listed(text: str) -> dict[str, str]:
    """Return the files of the table of a section, with what to write."""
    return dict(re.findall(r"^\| `([\w./-]+/[\w./-]+)` \| (.*) \|$", text, flags=re.MULTILINE))


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")


def replace_once(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{path}: {old}"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def add_generator(copy: Path) -> set[str]:
    """The class in a new file, and its name in the first import of `networks`."""
    text = part("generator")
    new, package = [name for name in listed(text) if name.startswith("src/")]
    (copy / new).write_text(blocks(text)[0], encoding="utf-8")
    module = re.search(r"add `(\w+)` to the first import", listed(text)[package])[1]
    first = re.search(r"^from tomostain\.networks import .*?(?=  #|$)", (copy / package).read_text(), re.MULTILINE)[0]
    replace_once(copy / package, first, f"{first}, {module}")
    return {new, package}


def add_loss(copy: Path) -> set[str]:
    """The equation at the end of `losses`, the term at the end of `terms`."""
    text = part("loss")
    files = [name for name in listed(text) if name.startswith("src/")]
    for name, code in zip(files, blocks(text), strict=True):
        append(copy / name, f"\n\n{code}")
    return set(files)


def add_metric(copy: Path) -> set[str]:
    """The function in a new file, its import, and the row of the reference."""
    text = part("metric")
    new, package = [name for name in listed(text) if name.startswith("src/")]
    (copy / new).write_text(blocks(text)[0], encoding="utf-8")
    line = re.search(r"the line `(import [\w.]+)`", listed(text)[package])[1]
    replace_once(copy / package, "\n# isort: on", f"{line}\n\n# isort: on")
    return {new, package}


def add_reader(copy: Path) -> set[str]:
    text = part("volume-reader")
    (new,) = (name for name in listed(text) if name.startswith("src/"))
    (copy / new).write_text(blocks(text)[0], encoding="utf-8")
    return {new}


def add_verb(copy: Path) -> set[str]:
    """The verb of the page, and the second one, which prints JSON, in a file of its name."""
    text = part("verb")
    (new,) = (name for name in listed(text) if name.startswith("src/"))
    (copy / new).write_text(blocks(text)[0], encoding="utf-8")
    (copy / new).with_name("size.py").write_text(blocks(text)[1], encoding="utf-8")
    return {new, str(Path(new).with_name("size.py"))}


def install_losses(site: Path) -> None:
    """Install a package with the losses that have a fixed and a trained network, with the entry points of the page."""
    code = [
        blocks(part("loss", f"## A loss with a {kind}"))[0] for kind in ("fixed network", "network that is trained")
    ]
    info = site / "my_losses-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "my_losses.py").write_text("\n\n".join(code), encoding="utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-losses\nVersion: 1.0\n", encoding="utf-8")
    group, lines = re.search(
        r'\[project\.entry-points\."([\w.]+)"\]\n(.*)', blocks(PAGES["loss"], "toml")[0], re.S
    ).groups()
    (info / "entry_points.txt").write_text(f"[{group}]\n" + lines.replace('"', ""), encoding="utf-8")


def recipe() -> dict[str, object]:
    """Return the generator of one page and the losses of another, at toy size."""
    generator = yaml.safe_load(blocks(PAGES["generator"], "yaml")[0])["generator"] | {"norm": "channel"}
    networks = yaml.safe_load(blocks(PAGES["loss"], "yaml")[1])["loss_networks"]
    terms = {"l1": 1, "edges": 5, "pathology": 1, "contrastive": 1}
    return {"base": "tomostain-cpu", "name": "extended", "generator": generator, "terms": terms,
            "loss_networks": networks, "patch_px": 32, "batch": 1, "residual_registration": 0}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[dict[str, object], Path, dict[str, set[str]]]:
    """Follow the pages in a copy of the source, and use it; return the results, the folder, and the files by page."""
    folder = tmp_path_factory.mktemp("extensions")
    copy = folder / "copy"
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    adders = {"generator": add_generator, "loss": add_loss, "metric": add_metric, "volume-reader": add_reader,
              "verb": add_verb}  # fmt: skip
    files = {name: add(copy) for name, add in adders.items()}
    install_losses(folder / "site")
    save_dataset(folder / "dataset", [toy_pair(f"p{n}", n) for n in range(4)], test=["p3"])
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe()), encoding="utf-8")
    (folder / "scan.xyz").write_bytes(b"2 48 64 20\n" + VALUES.tobytes())
    path = os.pathsep.join([str(copy / "src"), str(folder / "site")])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(COMMANDS)],
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])
    assert Path(results["package"]).is_relative_to(copy)
    return results, folder, files


def test_every_command_ends_well(made):
    results, _, _ = made
    failed = {name: results[name]["err"] for name in COMMANDS if results[name]["code"]}
    assert not failed


@pytest.mark.parametrize("name", PAGES)
def test_the_page_lists_the_files_that_were_changed(made, name):
    _, _, files = made
    sources = {file for file in listed(part(name)) if file.startswith("src/")}
    assert sources
    assert sources == {file for file in files[name] if not file.endswith("/size.py")}
    for file in listed(part(name)):
        assert (ROOT / file).parent.is_dir(), file


def test_the_reader_opens_a_volume_for_every_verb(made):
    results, _, _ = made
    assert results["volume"] == [[2, 48, 64], VALUES[1, 0, :3].tolist()]
    assert "volume, 2 x 48 x 64 voxels of 20 x 20 x 20 µm" in results["check"]["out"]


def test_the_verbs_are_listed_and_print_their_results(made):
    results, _, _ = made
    assert results["count"]["out"] == "2\n"
    assert json.loads(results["size"]["out"])["shape"] == [2, 48, 64]
    assert re.search(r"^  count +Print the number of slices of a volume", results["help"]["out"], re.MULTILINE)


def test_the_model_has_the_generator_and_was_trained_with_the_losses(made):
    _, folder, _ = made
    model = yaml.safe_load((folder / "run/model/model.yaml").read_text(encoding="utf-8"))
    assert model["generator"]["name"] == "my-generator"
    assert (folder / "stained.ome.zarr").is_dir()
    header, values = (
        line.split(",") for line in (folder / "run/metrics.csv").read_text(encoding="utf-8").splitlines()[:2]
    )
    losses = dict(zip(header, values, strict=True))
    assert all(float(losses[term]) > 0 for term in ("edges", "pathology", "contrastive"))


def test_the_metric_is_in_the_tables_and_in_the_reference(made):
    results, folder, _ = made
    assert "MAE / grey levels" in (folder / "evaluation/table.txt").read_text(encoding="utf-8")
    row = next(line for line in part("metric").splitlines() if line.startswith("    | `mae` |"))
    name, heading, better, scope, computed, summary = (cell.strip() for cell in row.strip().strip("|").split("|"))
    assert (name, better, computed) == ("`mae`", "lower", "on request")
    assert results["metrics"]["mae"] == [heading, scope, summary]
