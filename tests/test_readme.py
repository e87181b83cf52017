"""The README: its Python block runs, its verbs and make targets exist, its links are valid."""

import re
import subprocess
import sys
from pathlib import Path

from tomostain.io import open_stained

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_lines_run(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(blocks) == 1
    done = subprocess.run([sys.executable, "-c", blocks[0]], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "raw µCT" in done.stdout
    assert open_stained(tmp_path / "stained.ome.zarr").shape == (24, 96, 96)


def test_make_targets_of_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"make (\w+)", README)):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_commands_of_the_readme_exist():
    commands = re.findall(r"^    tomostain (\w+)(.*)$", README, flags=re.MULTILINE)
    assert len(commands) == 6
    for verb, rest in commands:
        done = subprocess.run([sys.executable, "-m", "tomostain", verb, "--help"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        for option in re.findall(r"(?<!\S)--[a-z-]+", rest):
            assert option in done.stdout, f"{verb} {option}"


def test_links_lead_to_files():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page}: {target}"


def test_the_navigation_contains_every_page():
    listed = set(re.findall(r"[\w/.-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8")))
    pages = {page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")}
    assert listed == pages
