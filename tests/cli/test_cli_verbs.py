"""The registry of verbs: one file per verb here, an entry point in other packages."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tomostain.cli
from tomostain.cli.main import run
from tomostain.cli.verbs import REGISTRY, built_in_verbs

PAGE = (Path(__file__).parents[2] / "docs/how-to/add-a-verb.md").read_text(encoding="utf-8")
VERB = PAGE.split("```python\n")[1].split("```")[0]


def test_each_verb_is_the_module_of_its_name():
    folder = Path(tomostain.cli.__file__).parent
    for verb in built_in_verbs():
        assert (folder / f"{verb}.py").is_file()


def test_help_keeps_the_order_of_the_workflow():
    assert built_in_verbs()[:2] == ["demo", "register"]
    assert built_in_verbs()[-1] == "doctor"


def test_the_page_how_to_add_a_verb_is_true(tmp_path, monkeypatch, capsys, volume):
    """One file, the one that the page lists, is enough."""
    files = re.findall(r"^\| `(src/[^`]+)` \|", PAGE, re.MULTILINE)
    assert files == ["src/tomostain/cli/count.py"]
    (tmp_path / "count.py").write_text(VERB, encoding="utf-8")
    monkeypatch.setattr(tomostain.cli, "__path__", [*tomostain.cli.__path__, str(tmp_path)])
    try:
        assert run(["count", str(volume)]) == 0
        assert capsys.readouterr().out == "4\n"
        assert run(["count", "--help"]) == 0
        assert "Examples:\n    tomostain count reco_folder" in capsys.readouterr().out
        assert run(["--help"]) == 0
        listed = [line.split()[0] for line in capsys.readouterr().out.split("Commands:")[1].splitlines() if line]
        assert listed[-3:] == ["check", "count", "doctor"]
        (tmp_path / "size.py").write_text(PAGE.split("```python\n")[2].split("```")[0], encoding="utf-8")
        assert run(["size", str(volume), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["shape"][0] == 4
    finally:
        REGISTRY.pop("count")
        REGISTRY.pop("size", None)
        sys.modules.pop("tomostain.cli.count")


@pytest.fixture
def package(tmp_path) -> dict[str, str]:
    """Install a package with the verbs `count` and `broken`; return the environment that finds it."""
    (tmp_path / "counter.py").write_text(VERB, encoding="utf-8")
    info = tmp_path / "counter-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: counter\nVersion: 1.0\n")
    points = "count = counter:count\nbroken = no_such_module:broken\nstain = counter:count\n"
    (info / "entry_points.txt").write_text(f"[tomostain.verbs]\n{points}")
    return os.environ | {"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}


def tomostain_in(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from tomostain.cli import main; sys.argv[0] = 'tomostain'; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_an_entry_point_is_a_verb(package, volume):
    done = tomostain_in(package, "count", str(volume))
    assert (done.returncode, done.stdout) == (0, "4\n"), done.stderr


def test_help_describes_the_verbs_of_other_packages(package):
    done = tomostain_in(package, "--help")
    assert done.returncode == 0, done.stderr
    assert "Commands of other packages:" in done.stdout
    assert "count   Print the number of slices of a volume (from the package counter)." in done.stdout
    assert "broken  Cannot be loaded (from the package counter)." in done.stdout
    assert "Stain a volume" in done.stdout  # a built-in verb takes precedence
    assert "stain   from the package" not in done.stdout


def test_an_entry_point_that_cannot_be_loaded_is_reported_in_one_line(package):
    done = tomostain_in(package, "broken")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "broken: cannot load this verb from no_such_module:broken (counter)" in done.stderr
