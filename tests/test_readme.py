"""The README: its commands and its Python block run as they are written, its links are valid.

The commands of `tomostain` run in this process, because a new one takes seconds to import PyTorch. Some get more
options, for a small training. `pip` and the tools of `make test` are replaced by programs that record their arguments.
"""

import contextlib
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import tomostain as ts
from tomostain.cli.main import run
from tomostain.io import open_stained

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
INSTALL = (ROOT / "docs" / "how-to" / "install.md").read_text(encoding="utf-8")
SMALL = {"shape": (24, 96, 96), "voxel_um": 50.0, "pixel_um": 25.0, "orientation": "lying"}
# Appended to the commands of a verb. The text of the README stays as it is.
SHORTER = {"train": "--max-steps 2", "register": "--init specimens/a/truth/section.yaml --accept"}


def blocks(text: str) -> list[list[str]]:
    """Return the indented blocks of a page as lists of commands."""
    indented = re.findall(r"(?:^    \S.*\n)+", text, flags=re.MULTILINE)
    return [[line[4:] for line in block.splitlines()] for block in indented]


def program(folder: Path, name: str, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/usr/bin/env bash\n{text}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def recorder(folder: Path, log: Path, *names: str) -> None:
    """Write programs that append their name and arguments to a file."""
    for name in names:
        program(folder, name, f'printf "%s " {name} "$@" >> {log}; echo >> {log}')


def shell(command: str, folder: Path, first: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line in a shell that finds the programs in `first` before others."""
    values = os.environ | {"PATH": f"{first}{os.pathsep}{os.environ['PATH']}"} | environment
    return subprocess.run(["bash", "-ec", command], cwd=folder, env=values, capture_output=True, text=True, check=False)


def test_the_python_lines_run(tmp_path, capsys):
    code = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(code) == 1
    with contextlib.chdir(tmp_path):
        exec(compile(code[0], "README.md", "exec"), {"__name__": "__main__"})
    assert "raw µCT" in capsys.readouterr().out
    assert open_stained(tmp_path / "stained.ome.zarr").shape == (24, 96, 96)


@pytest.fixture
def laboratory(tmp_path):
    """Return a folder with a volume, a slide and a table of specimens."""
    folder = tmp_path / "laboratory"
    configs = {name: ts.PhantomConfig(material="Mg-10Gd", seed=seed, **SMALL) for seed, name in enumerate("abcd")}
    table = ts.phantom.write_study(folder / "specimens", configs)
    lines = table.read_text(encoding="utf-8").splitlines()
    rows = [",".join([row.split(",")[0], *(f"specimens/{p}" for p in row.split(",")[1:4]), *row.split(",")[4:]])
            for row in lines[1:]]  # fmt: skip
    (folder / "specimens.csv").write_text("\n".join([lines[0], *rows]) + "\n", encoding="utf-8")
    shutil.copytree(folder / "specimens" / "a" / "volume", folder / "reco")
    shutil.copy(folder / "specimens" / "a" / "slide.ome.tif", folder)
    return folder


def test_the_pipeline_in_the_shell_runs(laboratory, tmp_path, capfd):
    commands = next(block for block in blocks(README) if block[0].startswith("tomostain register"))
    assert len(commands) == 6
    with contextlib.chdir(laboratory):
        for command in commands:
            program_name, verb, *words = shlex.split(command, comments=True)
            assert program_name == "tomostain"
            assert run([verb, *shlex.split(SHORTER.get(verb, "")), *words]) == 0, f"{command}: {capfd.readouterr().err}"
    assert (laboratory / "pair" / "pair.yaml").is_file()
    assert (laboratory / "evaluation" / "report.html").is_file()
    assert open_stained(laboratory / "stained.ome.zarr").shape == (24, 96, 96)
    program(tmp_path / "bin", "tomostain", f'exec {sys.executable} -m tomostain "$@"')
    done = shell("tomostain", laboratory, tmp_path / "bin")
    assert "Next: tomostain view stained.ome.zarr" in done.stdout


def test_the_make_targets_run(tmp_path):
    commands = next(block for block in blocks(README) if block[0].startswith("make"))
    venv, log = tmp_path / "venv", tmp_path / "log"
    recorder(venv / "bin", log, "tomostain", "python", "ruff", "mypy")
    for name in (".installed", ".installed-dev"):
        # Newer than pyproject.toml, so that nothing is installed.
        (venv / name).touch()
    for command in commands:
        done = shell(command, ROOT, venv / "bin", MAKEFLAGS=f"-- VENV={venv} OUT={tmp_path / 'out'}")
        assert done.returncode == 0, f"{command}: {done.stderr}"
    lines = log.read_text(encoding="utf-8").splitlines()
    assert lines[0].strip() == f"tomostain demo {tmp_path / 'out'}"
    assert [line.split()[0] for line in lines[1:]] == ["ruff", "ruff", "mypy", "python"]


def test_the_lines_of_the_installation_run(tmp_path):
    commands = [*next(iter(blocks(INSTALL))), *re.findall(r"`(pip install [^`]*)`", README)]
    assert len(commands) == 5
    log = tmp_path / "log"
    recorder(tmp_path / "bin", log, "pip")
    program(tmp_path / "bin", "python3", 'mkdir -p "$3/bin" && touch "$3/bin/activate"')
    (tmp_path / "clone").mkdir()
    for command in commands:
        done = shell(command, tmp_path / "clone", tmp_path / "bin")
        assert done.returncode == 0, f"{command}: {done.stderr}"
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for line in log.read_text(encoding="utf-8").splitlines():
        words = line.split()
        assert words[:3] == ["pip", "install", "-c"]
        assert (ROOT / words[3]).is_file()
        assert set(re.findall(r"\w+", words[4])) <= extras.keys()
    table = re.findall(r"^\| (`.*?`) \|", INSTALL, flags=re.MULTILINE)
    assert set(re.findall(r"\w+", " ".join(table))) == extras.keys()


def test_every_command_of_the_readme_is_run_here():
    text = re.sub(r"```python.*?```", "", README, flags=re.DOTALL)
    first_words = {line.split()[0] for block in blocks(text) for line in block}
    assert first_words == {"make", "tomostain"}
    inline = {code.split()[0] for code in re.findall(r"`([^`]+)`", text) if " " in code and not code.startswith("-")}
    assert inline <= {"make", "pip"}


def test_make_targets_of_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"make (\w+)", README)):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_links_lead_to_files():
    has_studies = (ROOT / "studies").is_dir()  # the source distribution has none
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            path = (page.parent / target).resolve()
            if has_studies or ROOT / "studies" not in path.parents:
                assert path.exists(), f"{page}: {target}"


def test_the_navigation_contains_every_page():
    listed = set(re.findall(r"[\w/.-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8")))
    pages = {page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")}
    assert listed == pages
