"""The site: links and anchors lead somewhere, every picture is small and used, and what is not run is listed."""

import re
from functools import cache
from pathlib import Path

import pytest

from tests.docs.test_docs_pages import DATA, HOW_TO, PAGES, RUN_BY, TOY, TUTORIAL
from tests.support.docs_pages import OTHER_PROGRAMS, read_blocks

DOCS = Path(__file__).parents[2] / "docs"
EVERY_PAGE = sorted(DOCS.rglob("*.md"))
LINK = re.compile(r"\]\(([^)\s]+)\)")


def without_code(text: str) -> str:
    return re.sub(r"`[^`]*`", "", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


@cache
def anchors(page: Path) -> set[str]:
    """Return the anchors of a page, as Python-Markdown makes them from its headings."""
    slugify = pytest.importorskip("markdown.extensions.toc").slugify
    found = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL), re.M)
    return {slugify(re.sub(r"[`*]|\[([^]]*)\]\([^)]*\)", r"\1", heading), "-") for heading in found}


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: str(page.relative_to(DOCS)))
def test_links_stay_in_the_site_and_their_anchors_exist(page):
    for link in LINK.findall(without_code(page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), link
        assert DOCS in path.parents, f"{link}: leads out of the site"
        if anchor and path.suffix == ".md":
            assert anchor in anchors(path), link


def test_there_are_links_with_anchors():
    assert sum("#" in link for page in EVERY_PAGE for link in LINK.findall(page.read_text(encoding="utf-8"))) > 20


@pytest.mark.parametrize("picture", sorted(DOCS.glob("img/tutorial-*.png")), ids=lambda picture: picture.name)
def test_the_pictures_of_the_tutorial_are_small_and_used(picture):
    assert picture.stat().st_size <= 200_000
    assert any(picture.name in page.read_text(encoding="utf-8") for page in EVERY_PAGE)


def not_run() -> list[tuple[str, str, str]]:
    """Return page, command or block, and reason of everything that is not run."""
    left = []
    for page in PAGES:
        name = str(page.relative_to(DOCS))
        for block in read_blocks(page):
            if name in RUN_BY:
                continue
            if block.kind == "commands":
                left += [(name, command.line, command.reason) for command in block.commands() if command.reason]
            elif block.kind == "python" and block.reason:
                left.append((name, block.text, block.reason))
    return left


def test_what_is_not_run_has_a_reason_and_is_little():
    left = not_run()
    ours = [(page, line) for page, line, _ in left if line.startswith("tomostain")]
    assert all(len(reason) > 8 for _, _, reason in left)
    assert len(ours) <= 30, ours
    assert len(left) <= 80, left


def test_most_commands_are_run():
    commands = [c for page in PAGES for b in read_blocks(page) if b.kind == "commands" for c in b.commands()]
    ours = [command for command in commands if command.line.startswith("tomostain")]
    assert len(ours) > 80
    assert sum(command.reason is None for command in ours) > 0.7 * len(ours)


def test_the_tables_name_pages_and_tests_that_exist():
    names = {page.name for page in PAGES}
    assert set(DATA) | set(TOY) <= names
    for page, test in RUN_BY.items():
        assert DOCS / page in HOW_TO
        text = (DOCS.parent / "tests" / test).read_text(encoding="utf-8")
        assert Path(page).name in text.replace('" / "', "/")
    assert len(TUTORIAL) == 2


@pytest.mark.parametrize("page", TUTORIAL, ids=lambda page: page.name)
def test_only_what_cannot_run_is_left_out_of_the_tutorial(page):
    for block in read_blocks(page):
        for command in block.commands() if block.kind == "commands" else ():
            allowed = command.words[0] in OTHER_PROGRAMS or {"--browser", "--section"} & {*command.words}
            assert command.reason is None or allowed, command.line
