"""Every command and every Python block of the tutorial and of the how-to pages runs, in order, on small data.

The data have the names of the page. `TOY` and `SMALLER` state how a command differs from the page: fewer steps, a
smaller search, a CPU. `tests/support/docs_pages.py` explains the marks in the pages. The others are counted below.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
import yaml

from tests.support.docs_data import (
    EXACT,
    FINE,
    SMALL_SEARCH,
    coarse_study,
    facility_folders,
    fine_specimen,
    laboratory,
    measured_study,
    nothing,
    two_files,
)
from tests.support.docs_pages import NEVER, SHELL, Block, Command, read_blocks, reason_never
from tests.support.training import toy_recipe
from tomostain.cli.main import app, run

DOCS = Path(__file__).parents[2] / "docs"
TUTORIAL = sorted((DOCS / "tutorial").glob("*.md"))
HOW_TO = sorted((DOCS / "how-to").glob("*.md"))
PAGES = [*TUTORIAL, *HOW_TO]

DATA = {
    "first-volume.md": nothing,
    "your-own-data.md": two_files,
    "p05.md": facility_folders,
    "slides.md": facility_folders,
    "measure.md": measured_study,
    "own-data.md": facility_folders,
    "five-pairs.md": coarse_study,
    "hard-specimen.md": coarse_study,
    "large-volumes.md": coarse_study,
    "new-stain.md": coarse_study,
    "train.md": coarse_study,
    "volumes.md": coarse_study,
}
"""The data of a page; by default those of `fine_specimen`."""

TOY = {
    "own-data.md": {
        "--voxel-um 5": "--voxel-um 50",
        # A toy section has too few distinct blocks of edges for a sure result.
        "--voxel-um 10": "--voxel-um 50 --accept",
        "--pixel-um 2.5": "--pixel-um 50",
    },
    "your-own-data.md": {"--voxel-um 20": "--voxel-um 50", "--init builtin:phantom-tb": "--recipe toy.yaml"},
}
"""What is replaced in the commands of a page, because the data have another size."""

RUN_BY = {
    "how-to/add-a-generator.md": "networks/test_networks_how_to_add.py",
    "how-to/add-a-loss.md": "train/test_train_terms.py",
    "how-to/add-a-metric.md": "evaluate/test_evaluate_how_to_add.py",
    "how-to/add-a-model.md": "models/test_models_how_to_add.py",
    "how-to/add-a-verb.md": "cli/test_cli_verbs.py",
    "how-to/add-a-volume-reader.md": "io/test_io_how_to_add_reader.py",
    "how-to/choose-a-recipe.md": "test_docs_commands.py",
    "how-to/exchange.md": "view/test_view_exchange.py",
    "how-to/install.md": "test_readme.py",
    "how-to/notebook.md": "test_pipeline.py",
}
"""Pages that another test runs: those that add something need a package around them, and the export takes long."""

TIMEOUT_S = 600
"""The time that a command or a Python block may take."""

OUTPUTS = {"stain": ("out", "uncertainty"), "train": ("run",), "register": ("pair",), "prepare": ("inputs",),
           "measure": ("paths",)}  # fmt: skip
"""The parameters of a verb that name its output, where it is not ``out`` alone."""


SEARCH = {"hard-specimen.md": {"threshold": 0.99}}
"""Other settings of the search: on the page about hard specimens it must not be sure."""


def smaller(words: list[str], page: Path, folder: Path) -> list[str]:
    """Return the command at toy size."""
    words = ["cpu" if word == "cuda" else word for word in words]
    if "--dry-run" in words or "--help" in words:
        return words
    if words[0] == "train":
        return _small_training(words, folder)
    if words[0] == "register" and "--config" in words:
        path = Path(words[words.index("--config") + 1])
        path.write_text(
            yaml.safe_dump(SMALL_SEARCH | yaml.safe_load(path.read_text(encoding="utf-8"))), encoding="utf-8"
        )
    if words[0] in ("register", "prepare", "phantom") and "--config" not in words and "--aligned" not in words:
        search = SMALL_SEARCH | SEARCH.get(page.name, {})
        values = {"register": search, "prepare": {"registration": search}, "phantom": _small_phantom(words)}
        (folder / ".toy.yaml").write_text(yaml.safe_dump(values[words[0]]), encoding="utf-8")
        words = [*words, "--config", str(folder / ".toy.yaml")]
    return words


def _small_training(words: list[str], folder: Path) -> list[str]:
    """Return one step of training: of the small edition of a named recipe, or of tiny networks."""
    place = words.index("--recipe") if "--recipe" in words else None
    if place and words[place + 1] == "toy.yaml":
        del words[place : place + 2]
        place = None
    if place and not words[place + 1].endswith((".yaml", "-cpu")):
        words[place + 1] += "-cpu"
    if place is None and not {"--init", "--resume"} & {*words}:
        toy = folder / ".toy-recipe.yaml"
        toy.write_text(yaml.safe_dump(toy_recipe(**EXACT).model_dump(mode="json")), encoding="utf-8")
        words = [*words, "--recipe", str(toy)]
    return [*words, "--max-steps", "1"]


def _small_phantom(words: list[str]) -> dict[str, object]:
    if "--size" in words:
        place = words.index("--size")
        del words[place : place + 2]
    sides = [20, 64, 64] if "--voxel-um" in words else [20, 128, 128]
    return {"shape": sides, "orientation": "lying", "voxel_um": FINE["voxel_um"], "pixel_um": FINE["pixel_um"]}


def remove_outputs(words: list[str]) -> None:
    """Remove what an earlier command of the page wrote in the same place: a how-to page shows alternatives."""
    if {"--resume", "--part", "--help"} & {*words} or (words[0] == "register" and "--init" in words):
        return
    context = typer.main.get_command(app).commands[words[0]].make_context(words[0], list(words[1:]))
    for name in OUTPUTS.get(words[0], ("out",)):
        value = context.params.get(name)
        path = value[-1] if isinstance(value, list | tuple) and value else value
        if path is None or not Path(path).exists():
            continue
        shutil.rmtree(path) if Path(path).is_dir() else Path(path).unlink()
        for figure in Path(path).parent.glob("*-levels.png"):
            figure.unlink()


@contextlib.contextmanager
def time_limit(what: str, seconds: float = TIMEOUT_S) -> Iterator[None]:
    """Fail the test when the body takes longer; without effect on systems without this signal."""
    if not hasattr(signal, "SIGALRM"):
        yield
        return

    def stop(*_: object) -> None:
        pytest.fail(f"takes longer than {seconds} s: {what}")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run_command(command: Command, page: Path, folder: Path) -> None:
    """Run one command of a page in the current folder."""
    assert reason_never(command.line) is None, f"{page.name}: never run {command.line}"
    line = command.line
    for text, other in TOY.get(page.name, {}).items():
        line = line.replace(text, other)
    words = Command(line).words
    if words[0] == "cd":
        os.chdir(words[1])
        return
    if words[0] != "tomostain":
        assert words[0] in SHELL, f"{page.name}: unknown program: {command.line}"
        words[0] = sys.executable if words[0] == "python" else words[0]
        subprocess.run(words, check=True, timeout=TIMEOUT_S)
        return
    words = smaller(words[1:], page, folder)
    if page in HOW_TO and words:
        remove_outputs(words)
    with time_limit(command.line):
        code = run(["-q", *words])
    assert code == command.exit_code, f"{page.name}: {command.line} (run as: {' '.join(words)})"


def run_block(block: Block, page: Path, folder: Path) -> None:
    """Run the commands or the Python code of a block, or write its file."""
    if block.kind == "file":
        text = block.text.replace("base: paired-cyclegan\n", "base: paired-cyclegan-cpu\n")
        Path(block.name).write_text(text + "\n", encoding="utf-8")
    elif block.kind == "python" and block.reason is None:
        with time_limit(f"{page.name}, line {block.number}"):
            exec(compile(block.text, f"{page.name}:{block.number}", "exec"), {"__name__": "__main__"})
    elif block.kind == "commands":
        for command in block.commands():
            if command.reason is None:
                run_command(command, page, folder)


def has_something_to_run(page: Path) -> bool:
    """Return whether a page has commands or Python that are run."""
    blocks = read_blocks(page)
    commands = [command for block in blocks if block.kind == "commands" for command in block.commands()]
    return any(c.reason is None for c in commands) or any(b.kind == "python" and b.reason is None for b in blocks)


@pytest.fixture(scope="session")
def study(tmp_path_factory) -> Path:
    root = tmp_path_factory.getbasetemp()
    return laboratory(root.parent if "PYTEST_XDIST_WORKER" in os.environ else root)


RUN_HERE = [page for page in PAGES if str(page.relative_to(DOCS)) not in RUN_BY and has_something_to_run(page)]


@pytest.mark.parametrize("page", RUN_HERE, ids=lambda page: f"{page.parent.name}/{page.name}")
def test_the_page_runs(page, study, tmp_path, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    DATA.get(page.name, fine_specimen)(study, tmp_path)
    with contextlib.chdir(tmp_path):
        for block in read_blocks(page):
            run_block(block, page, tmp_path)


@pytest.mark.parametrize("line", ["tomostain view a --browser", "napari a", "sudo apt install a", "apt-get install a"])
def test_a_command_that_does_not_end_is_not_run(line, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"```bash\n{line}\n```\n", encoding="utf-8")
    ((command,),) = [block.commands() for block in read_blocks(page)]
    assert command.reason
    assert {*line.split()} & {*NEVER}
    with pytest.raises(AssertionError, match="never run"):
        run_command(Command(line), page, tmp_path)


def test_a_command_that_takes_too_long_fails():
    with pytest.raises(pytest.fail.Exception, match=r"longer than 0\.01 s: sleep"), time_limit("sleep", 0.01):
        signal.pause()
