"""Whether an existing output folder may be replaced or resumed. Only folders with a marker file are ever replaced."""

import os
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
