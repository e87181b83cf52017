"""Values that the shell completes. Nothing heavy is imported: the shell waits for the answer after each Tab."""

import glob
import io
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import tomostain

FORMATS = (
    "bioimageio",
    "gif",
    "mp4",
    "nrrd",
    "ome-zarr-0.4",
    "onnx",
    "qupath",
    "rgb-tiff",
    "rgba-tiff",
    "vti",
)
"""Formats of `tomostain export`."""
_NAME = "builtin"
BUILTIN = f"{_NAME}:"


def formats(incomplete: str) -> list[str]:
    """Return the formats of `export` that begin with a text.

    Examples
    --------
    >>> formats("rgb")
    ['rgb-tiff', 'rgba-tiff']
    """
    return _beginning(incomplete, FORMATS)


def model_names(incomplete: str) -> list[str]:
    """Return the built-in models that begin with a text, as ``builtin:NAME``.

    Where a path begins with the text, the answer is empty: then the shell completes paths.

    Examples
    --------
    >>> model_names("builtin:phantom-t"), model_names("no/such/path")
    (['builtin:phantom-tb'], [])
    """
    if incomplete != BUILTIN and any(Path().glob(f"{glob.escape(incomplete)}*")):
        return []
    from tomostain.models import builtin_names  # imports pydantic

    return _beginning(incomplete, [f"{BUILTIN}{name}" for name in builtin_names()])


@contextmanager
def words_of_bash(environment: MutableMapping[str, str]) -> Iterator[None]:
    """Complete ``builtin:NAME`` in bash, which splits words at colons and replaces only what follows the last one.

    In the block, the words in `environment` are joined. The printed completions then lose the part that bash keeps.

    Parameters
    ----------
    environment : mapping
        Of the process, with ``COMP_WORDS`` and ``COMP_CWORD``.

    Examples
    --------
    >>> words = {"COMP_WORDS": "tomostain stain builtin : ph", "COMP_CWORD": "4"}
    >>> with words_of_bash(words):
    ...     print("builtin:phantom-tb")
    phantom-tb
    >>> words
    {'COMP_WORDS': 'tomostain stain builtin:ph', 'COMP_CWORD': '2'}
    """
    text, position = environment.get("COMP_WORDS", ""), environment.get("COMP_CWORD", "")
    separator = "\n" if "\n" in text else " "
    words = text.split(separator)
    joined: list[str] = []
    current, is_part = 0, False
    for index, word in enumerate(words):
        follows_name = joined[-1:] == [_NAME] and word == ":"
        follows_colon = joined[-1:] == [BUILTIN] and words[index - 1] == ":"
        if follows_name or follows_colon:
            joined[-1] += word
        else:
            joined.append(word)
        if str(index) == position:
            current, is_part = len(joined) - 1, follows_name or follows_colon
    if len(joined) < len(words) and current:
        environment["COMP_WORDS"], environment["COMP_CWORD"] = separator.join(joined), str(current)
    if not is_part:
        yield
        return
    printed = io.StringIO()
    try:
        with redirect_stdout(printed):
            yield
    finally:
        print("\n".join(line.removeprefix(BUILTIN) for line in printed.getvalue().splitlines()))


def recipes(incomplete: str) -> list[str]:
    """Return the names of the training recipes that begin with a text.

    Examples
    --------
    >>> recipes("pix")
    ['pix2pix', 'pix2pix-cpu']
    """
    folder = Path(tomostain.__file__).parent / "train" / "recipes"
    return _beginning(incomplete, sorted(path.stem for path in folder.glob("*.yaml")))


def devices(incomplete: str) -> list[str]:
    """Return the names of devices that begin with a text."""
    return _beginning(incomplete, ("auto", "cpu", "cuda"))


def _beginning(incomplete: str, words: tuple[str, ...] | list[str]) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]
