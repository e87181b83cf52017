"""Whether an existing output folder may be replaced or resumed. Only folders with a marker file are ever replaced."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from tomostain.errors import InputError
from tomostain.io.atomic import refuse_existing


def output_folder(
    path: str | os.PathLike[str],
    kind: str,
    marker: str,
    *,
    overwrite: bool = False,
    resume: bool = False,
) -> bool:
    """Check a folder before a stage writes to it. Nothing is changed.

    Parameters
    ----------
    path : str or os.PathLike
        The folder.
    kind : str
        What it holds, for messages: "evaluation", "run".
    marker : str
        Name of the file by which such a folder is recognised.
    overwrite : bool
        Whether earlier output of this kind may be replaced.
    resume : bool
        Whether it may be continued.

    Returns
    -------
    bool
        True if the folder holds earlier output of this kind; False if it does not exist or is empty.

    Raises
    ------
    InputError
        If it holds earlier output and neither option allows for it, or holds anything else.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> output_folder(folder, "run", "run.yaml")
    False
    >>> (folder / "run.yaml").touch()
    >>> output_folder(folder, "run", "run.yaml", overwrite=True)
    True
    """
    path = Path(path)
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return False
    if (path / marker).is_file():
        if not resume:
            refuse_existing(path, overwrite, kind)
        return True
    article = "an" if kind[0] in "aeiou" else "a"
    raise InputError(
        f"{path}: exists and is not {article} {kind} (no {marker}), so it is not replaced; give another name"
    )


def check_sources_outside(path: str | os.PathLike[str], kind: str, sources: Iterable[str | os.PathLike[str]]) -> None:
    """Check that replacing a folder would not delete the input.

    Parameters
    ----------
    path : str or os.PathLike
        The folder that is to be replaced.
    kind : str
        What it holds, for messages: "dataset", "pair".
    sources : iterable of str or os.PathLike
        Files and folders that are read.

    Raises
    ------
    InputError
        If one of them lies in the folder.
    """
    folder = Path(path).resolve()
    for source in sources:
        if Path(source).resolve().is_relative_to(folder):
            raise InputError(f"{source}: lies in {path}, which would be replaced; choose another name for the {kind}")


def check_contents(path: str | os.PathLike[str], kind: str, is_known: Callable[[str], bool]) -> None:
    """Check that replacing a folder would not delete files of the user.

    Parameters
    ----------
    path : str or os.PathLike
        The folder that is to be replaced.
    kind : str
        What it holds, for messages.
    is_known : callable
        Whether a file of this name belongs to such a folder.

    Raises
    ------
    InputError
        If the folder holds any other file.
    """
    for file in sorted(Path(path).iterdir()):
        if not is_known(file.name):
            raise InputError(
                f"{file}: is not a file of a {kind}, so {path} is not replaced; give another name or move the file"
            )
