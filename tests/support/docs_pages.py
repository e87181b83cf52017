"""The blocks of commands and of Python on a page of the documentation, with the marks in front of them.

A mark is an HTML comment in front of a block; readers do not see it.

``<!-- not run: REASON -->``
    The block is not executed.
``<!-- not run "TEXT": REASON -->``
    The commands that contain TEXT are not executed. Several such marks may follow each other.
``<!-- exit 3 -->``
    The last command of the block ends with this exit code.
``<!-- file: NAME -->``
    The block is the content of a file, which is written before the commands that follow.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

# Programs that the tests do not start, wherever they occur, and why.
OTHER_PROGRAMS = {
    "pip": "installs packages; tests/test_readme.py runs the lines of the installation with a recorder",
    "python3": "makes an environment",
    ".": "activates an environment",
    "source": "activates an environment",
    "git": "needs the network",
    "make": "runs tests/test_readme.py",
    "napari": "opens a window",
    "qupath": "opens a window",
    "tensorboard": "serves until Ctrl-C",
    "torchrun": "starts several processes; tests/train runs two",
    "srun": "needs SLURM",
    "sbatch": "needs SLURM",
    "scontrol": "needs SLURM",
    "ssh": "needs another machine",
    "apt": "installs system packages",
    "apt-get": "installs system packages",
    "sudo": "installs system packages",
    "java": "is another program",
    "bioimageio": "is another program; tests/view runs it on an exported package",
}
# Words with which a command does not end by itself, or changes the machine, and why it never runs.
NEVER = {
    "--browser": "serves until Ctrl-C; tests/view runs the server",
    "napari": "opens a window; tests/napari runs the widgets",
    "apt": "installs system packages",
    "apt-get": "installs system packages",
}
SHELL = ("mkdir", "cp", "ls", "cat", "python", "cd")
LANGUAGES = ("bash", "sh", "shell", "console")
_MARK = re.compile(r"<!--\s*(not run|exit|file)\s*(\"[^\"]*\")?\s*:?\s*(.*?)\s*-->")


@dataclass(frozen=True)
class Command:
    """One command of a page: its words, and why it is not run, or its exit code."""

    line: str
    reason: str | None = None
    exit_code: int = 0

    @property
    def words(self) -> list[str]:
        """Return the words without comments."""
        return shlex.split(self.line, comments=True)


@dataclass(frozen=True)
class Block:
    """A block of a page: commands, Python, or a file."""

    number: int
    language: str
    text: str
    marks: tuple[tuple[str, str, str], ...] = field(default=())

    @property
    def kind(self) -> str:
        """Return ``commands``, ``python``, ``file`` or ``text``."""
        if any(kind == "file" for kind, _, _ in self.marks):
            return "file"
        if self.language == "python":
            return "python"
        if self.language in LANGUAGES or (self.language == "" and _first_word(self.text) in _programs()):
            return "commands"
        return "text"

    @property
    def reason(self) -> str | None:
        """Return why the block as a whole is not run, or None."""
        return next((value for kind, part, value in self.marks if kind == "not run" and not part), None)

    @property
    def name(self) -> str:
        """Return the name of the file that the block is the content of."""
        return next(value for kind, _, value in self.marks if kind == "file")

    def commands(self) -> list[Command]:
        """Return the commands; a script for a cluster, which begins with ``#!``, is one command."""
        if self.text.startswith("#!"):
            return [Command(self.text, self.reason)]
        lines = [line.removeprefix("$ ") for line in re.sub(r"\\\n\s*", " ", self.text).splitlines()]
        lines = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
        code = next((int(value) for kind, _, value in self.marks if kind == "exit"), 0)
        return [
            Command(line, self._reason_of(line), code if number == len(lines) - 1 else 0)
            for number, line in enumerate(lines)
        ]

    def _reason_of(self, line: str) -> str | None:
        parts = [value for kind, part, value in self.marks if kind == "not run" and part and part.strip('"') in line]
        return reason_never(line) or next(iter(parts), None) or self.reason or OTHER_PROGRAMS.get(_first_word(line))


def reason_never(line: str) -> str | None:
    """Return why a command never runs, or None."""
    return next((NEVER[word] for word in line.replace("=", " ").split() if word in NEVER), None)


def read_blocks(page: Path) -> list[Block]:
    """Return the blocks of a page in order."""
    return list(_blocks(page.read_text(encoding="utf-8").splitlines()))


def _blocks(lines: list[str]) -> Iterator[Block]:
    marks: list[tuple[str, str, str]] = []
    number = 0
    while number < len(lines):
        line = lines[number]
        start = number
        if match := re.match(r"^(\s*)```(\w*)", line):
            body = []
            number += 1
            while not lines[number].strip().startswith("```"):
                body.append(lines[number].removeprefix(match[1]))
                number += 1
            number += 1
            yield Block(start + 1, match[2], "\n".join(body), tuple(marks))
        elif line.startswith("    ") and (start == 0 or not re.match(r"\s*([-*]|\d+\.)\s", lines[start - 1])):
            while number < len(lines) and (lines[number].startswith("    ") or _inside(lines, number)):
                number += 1
            text = "\n".join(text[4:] for text in lines[start:number])
            yield Block(start + 1, "", text.strip("\n"), tuple(marks))
        else:
            number += 1
            if found := _MARK.findall(line):
                marks += found
                continue
            if not line.strip():
                continue
        marks = []


def _inside(lines: list[str], number: int) -> bool:
    """Return whether an empty line lies between two indented ones."""
    return not lines[number].strip() and number + 1 < len(lines) and lines[number + 1].startswith("    ")


def _first_word(text: str) -> str:
    words = text.strip().removeprefix("$ ").split()
    return words[0] if words else ""


def _programs() -> set[str]:
    return {"tomostain", *OTHER_PROGRAMS, *SHELL}
