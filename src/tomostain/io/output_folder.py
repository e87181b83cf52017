"""Names of outputs, and whether an existing output folder may be replaced or resumed.

Only folders with a marker file are ever replaced; see `tomostain.io.outputs` for the whole rule.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from tomostain.errors import InputError
from tomostain.input_files import refuse_url
from tomostain.io.atomic import refuse_existing
from tomostain.paths import StrPath

_IMAGES = (
    ".ome.tif",
    ".ome.tiff",
    ".ome.btf",
    ".tif",
    ".tiff",
    ".btf",
    ".tf8",
    ".png",
    ".jpg",
    ".jpeg",
    ".bmp",
    ".webp",
)
_HDF5 = (".h5", ".hdf5", ".hdf", ".nxs", ".nx", ".he5")
_VOLUMES = (".ome.zarr", ".zarr", ".nrrd", ".nhdr", ".mha", ".mhd", ".nii", ".nii.gz", ".vti", ".vtk", ".raw", *_HDF5)
_OTHERS = (
    ".webp",
    ".gif",
    ".mp4",
    ".svs",
    ".ndpi",
    ".czi",
    ".csv",
    ".yaml",
    ".json",
    ".txt",
    ".html",
    ".pdf",
    ".zip",
    ".gz",
)
# Each folder of a Zarr, dataset, pair, model, run or classifier contains one of these files.
_MARKERS = (
    *("zarr.json", ".zgroup", ".zarray", "dataset.yaml", "pair.yaml"),
    *("model.yaml", "run.yaml", "classifier.yaml"),
)
ENDINGS = (*_IMAGES, *_VOLUMES, *_OTHERS, ".npy", ".npz", ".safetensors")
"""Endings of names that state a format. Any other dot belongs to the name, as in ``rat_5.3um``."""


def ending_of(path: StrPath) -> str:
    """Return the ending of a name that states a format, in lower case; empty if it has none.

    Examples
    --------
    >>> ending_of("rat_5.3um.ome.zarr"), ending_of("scan.NII.GZ"), ending_of("rat_5.3um")
    ('.ome.zarr', '.nii.gz', '')
    """
    name = Path(path).name.lower()
    return max((each for each in ENDINGS if name.endswith(each) and name != each), key=len, default="")


def base_name(path: StrPath) -> str:
    """Return the name of a file or folder without the ending that states its format.

    Examples
    --------
    >>> base_name("out/rat_5.3um.ome.zarr"), base_name("rat_5.3um"), base_name("slice.tif")
    ('rat_5.3um', 'rat_5.3um', 'slice')
    """
    name = Path(path).name
    return name.removesuffix(name[len(name) - len(ending_of(path)) :]) if ending_of(path) else name


def check_folder_name(path: StrPath, kind: str, *, is_zarr: bool = False) -> None:
    """Check that the name of a new folder is not that of a file.

    Parameters
    ----------
    path : str or os.PathLike
        The folder. One that exists already is not checked, unless it is empty.
    kind : str
        What it will hold, for the message: "dataset", "stained volume".
    is_zarr : bool
        Whether it is an OME-Zarr, and may be named so.

    Raises
    ------
    InputError
        If the name ends as that of a file.

    Examples
    --------
    >>> check_folder_name("rat_5.3um", "dataset")
    >>> check_folder_name("slices.tif", "folder of TIFF slices")
    Traceback (most recent call last):
    tomostain.errors.InputError: slices.tif: the folder of TIFF slices is a folder, but the name ends in .tif; give NAME
    """
    ending = ending_of(path)
    if not ending or has_content(Path(path)) or (is_zarr and ending.endswith(".zarr")):
        return
    example = "NAME.ome.zarr" if is_zarr else "NAME"
    raise InputError(f"{path}: the {kind} is a folder, but the name ends in {ending}; give {example}")


def has_content(path: Path) -> bool:
    """Return whether a path is a folder that is not empty."""
    return path.is_dir() and any(path.iterdir())


def output_folder(
    path: StrPath,
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
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     before = output_folder(folder, "run", "run.yaml")
    ...     (Path(folder) / "run.yaml").touch()
    ...     before, output_folder(folder, "run", "run.yaml", overwrite=True)
    (False, True)
    """
    path = Path(path)
    check_folder_name(path, kind)
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


def source_paths(*sources: object) -> list[Path]:
    """Return the paths of those sources that are files or folders, or were opened from one; not of arrays or None.

    Examples
    --------
    >>> [path.name for path in source_paths("scan", None, Path("a/slide.png"))]
    ['scan', 'slide.png']
    """
    paths = [Path(each) if isinstance(each, str | os.PathLike) else getattr(each, "path", None) for each in sources]
    return [path for path in paths if isinstance(path, Path)]


def check_sources_outside(path: StrPath, kind: str, sources: Iterable[StrPath]) -> None:
    """Check that an output is not an input, does not contain one, and does not become a part of one.

    An output may lie in a folder of slices or of specimens, but not in a Zarr, dataset, pair, model or run; and a TIFF
    may not lie in a folder of slices, because it would be read as one of them.

    Parameters
    ----------
    path : str or os.PathLike
        The file or folder that is to be written or replaced.
    kind : str
        What it holds, for messages: "dataset", "pair".
    sources : iterable of str or os.PathLike
        Files and folders that are read.

    Raises
    ------
    InputError
        If it is a source, contains one, or lies in one.
    """
    refuse_url(path)
    out = _resolved(Path(path))
    for source in map(Path, sources):
        resolved = _resolved(source)
        if out == resolved or (out.exists() and resolved.exists() and out.samefile(resolved)):
            raise InputError(f"{path}: is an input of this command; choose another name for the {kind}")
        if resolved.is_relative_to(out):
            raise InputError(f"{source}: lies in {path}, which would be replaced; choose another name for the {kind}")
        if out.is_relative_to(resolved) and (_has_parts(resolved) or _is_slice(out)):
            raise InputError(f"{path}: lies in {source}, which is an input; choose another place for the {kind}")


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # RuntimeError: Python 3.11 and 3.12, for a link in a circle
        raise InputError(f"{path}: is a link that leads back to itself; replace it by the file or folder") from None


def _has_parts(folder: Path) -> bool:
    """Return whether every file of a folder is a part of one thing: a Zarr or a folder that tomostain wrote."""
    return any((folder / name).is_file() for name in _MARKERS)


def _is_slice(out: Path) -> bool:
    return out.suffix.lower() in (".tif", ".tiff")


def check_contents(path: StrPath, kind: str, is_known: Callable[[str], bool]) -> None:
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


def check_replaceable(
    path: StrPath,
    kind: str,
    sources: Iterable[StrPath],
    is_known: Callable[[str], bool],
) -> None:
    """Check that replacing a folder would delete neither the input nor files of the user.

    Parameters
    ----------
    path : str or os.PathLike
        The folder that is to be replaced. A path that is not a folder is not checked.
    kind : str
        What it holds, for messages.
    sources : iterable of str or os.PathLike
        Files and folders that are read.
    is_known : callable
        Whether a file of this name belongs to such a folder.

    Raises
    ------
    InputError
        If the folder holds one of the sources, or a file that is not known.
    """
    if Path(path).is_dir():
        check_sources_outside(path, kind, sources)
        check_contents(path, kind, is_known)
