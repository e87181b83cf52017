"""Every command of the README, the pages and the help texts is one that the command line accepts.

Here each command is parsed by its verb: unknown options, missing options, and values of a wrong type fail. The commands
of the README (`test_readme`), of the pages (`docs/test_docs_pages`, `test_docs_commands`) and of the help texts
(`cli/test_cli_help_examples`) are also executed, except those that need GPUs, clusters or downloads.
"""

import re
import shlex
from pathlib import Path

import pytest
import typer

from tomostain.cli.main import app
from tomostain.cli.verbs import built_in_verbs, load_verb

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
# The verb that `add-a-verb.md` adds.
NOT_OURS = {"count"}


def code_lines(text):
    """Return the lines of indented blocks and of fenced blocks of a page; a backslash joins lines."""
    fenced = "\n".join(re.findall(r"```(?:bash|sh|console)?\n(.*?)```", text, flags=re.DOTALL))
    indented = "\n".join(re.findall(r"^    (.*)$", text, flags=re.MULTILINE))
    return re.sub(r"\\\n\s*", " ", f"{fenced}\n{indented}").splitlines()


def command_of(line):
    """Return the words after ``tomostain`` of a shell line, or None if it is no such command."""
    match = re.match(
        r"^(?:\$ )?(?:.*(?:torchrun|srun) .*?)?(?:python )?(?:-m )?tomostain (?=[a-z-])(.*)$", line.strip()
    )
    if match is None or "…" in line or "..." in line:
        return None
    words = [word for word in shlex.split(match[1], comments=True) if not word.startswith("$how")]
    return words[: words.index("&&")] if "&&" in words else words


def commands():
    """Return the page or verb, and the words, of every command."""
    for page in PAGES:
        for line in code_lines(page.read_text(encoding="utf-8")):
            if (words := command_of(line)) and words[0] not in NOT_OURS and "=" not in words[0]:
                yield str(page.relative_to(ROOT)), words
    for verb in built_in_verbs():
        examples = (load_verb(verb).function.__doc__ or "").partition("Examples:")[2]
        for line in examples.splitlines():
            if words := command_of(line):
                yield f"{verb} --help", words


ALL = list(commands())


def test_there_are_many():
    assert len(ALL) > 90
    assert {"README.md", "docs/how-to/train.md", "compare --help", "docs/how-to/cluster.md"} <= {
        where for where, _ in ALL
    }


@pytest.mark.parametrize(("where", "words"), ALL, ids=[f"{where}: {' '.join(words)}" for where, words in ALL])
def test_the_command_line_accepts_it(where, words):
    while words[0].startswith("-"):  # an option before the verb
        words = words[2:] if words[0] in ("--log-file", "--threads") else words[1:]
    verb = typer.main.get_command(app).commands[words[0]]
    verb.make_context(words[0], list(words[1:]))


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_no_block_of_commands_runs_into_another_block(page):
    # Between two indented blocks Markdown needs more than an empty line: they would be shown as one.
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for block in re.findall(r"(?:^    \S.*\n(?:^    .*\n)*\n*)+", text, flags=re.MULTILINE):
        parts = [part for part in re.split(r"\n\s*\n", block.strip("\n")) if part.strip()]
        kinds = {any(command_of(line) for line in part.splitlines()) for part in parts}
        assert len(kinds) < 2, f"{page}: {block}"
