"""Exported models: ONNX files, and packages of the BioImage Model Zoo. They are read and never run."""

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import yaml

from tomostain.errors import InputError
from tomostain.io.checksums import sha256_of
from tomostain.progress import Progress, track

RDF = "rdf.yaml"


def is_package(path: Path) -> bool:
    """Return whether a file is a ZIP file with a description of the BioImage Model Zoo in it."""
    if path.suffix.lower() != ".zip" or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return RDF in archive.namelist()


def check_onnx(path: Path, progress: Progress) -> tuple[str, ...]:
    """Describe an ONNX file by its metadata, and check its graph.

    Raises
    ------
    InputError
        If onnx is not installed, the file is damaged, or tomostain did not write it.
    """
    try:
        import onnx
    except ImportError:
        raise InputError(f"{path}: checking ONNX needs a package: pip install 'tomostain[exchange]'") from None
    try:
        model = onnx.load(path)
        onnx.checker.check_model(path)
    except Exception as error:  # of protobuf and of the checker, without a common class
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: is no valid ONNX file ({reason}); export the model again") from None
    about = {entry.key.removeprefix("tomostain."): entry.value for entry in model.metadata_props}
    if "model_hash" not in about:
        raise InputError(f"{path}: is an ONNX file, but tomostain did not write it")
    return (
        f"ONNX of the model {about['model']} ({about['stain']}, {about['voxel_um']} µm), written by tomostain "
        f"{about['version']}",
        f"rows and columns: multiples of {about['size_multiple']} px, at least {about['min_size_px']} px",
        f"model hash {about['model_hash']}",
    )


def check_package(path: Path, progress: Progress) -> tuple[str, ...]:
    """Describe a package of the BioImage Model Zoo, a folder or a ZIP file, and compare its files with their SHA-256.

    Raises
    ------
    InputError
        If the description cannot be read, or a file is missing or altered.
    """
    if path.is_dir():
        return _check_files(path, lambda name: (path / name).open("rb"), progress)
    with zipfile.ZipFile(path) as archive:
        return _check_files(path, archive.open, progress)


def _check_files(path: Path, open_file: Callable[[str], IO[bytes]], progress: Progress) -> tuple[str, ...]:
    try:
        with open_file(RDF) as file:
            description = yaml.safe_load(file.read().decode("utf-8"))
        stated = dict(_stated_sums(description))
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: {RDF} cannot be read ({error}); export the model again") from None
    for name, expected in track(sorted(stated.items()), "reading", progress):
        try:
            with open_file(name) as file:
                digest = sha256_of(file)
        except (OSError, KeyError, zipfile.BadZipFile):
            raise InputError(f"{path}: {name} is missing or damaged; export the model again") from None
        if digest != expected:
            raise InputError(f"{path}: {name} does not match its SHA-256 in {RDF}; export the model again")
    return (
        f"BioImage Model Zoo, format {description.get('format_version')}: {description.get('name')}",
        f"licence {description.get('license')}; all {len(stated)} files match their SHA-256",
    )


def _stated_sums(value: object) -> Iterator[tuple[str, str]]:
    """Yield the files that a description names, with their SHA-256."""
    if isinstance(value, dict):
        if "source" in value and "sha256" in value:
            yield str(value["source"]), str(value["sha256"])
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _stated_sums(item)
