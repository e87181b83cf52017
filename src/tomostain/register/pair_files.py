"""The folder of a registered pair: which folders may be replaced, candidates, and the pair."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

import yaml

from tomostain.dataset.exclusion import warn_of_moved_exclusion
from tomostain.dataset.pair import save_pair
from tomostain.dataset.section_position import state_volume
from tomostain.io import Slide, Volume, write_image
from tomostain.io.atomic import atomic_folder, refuse_existing
from tomostain.io.output_folder import check_folder_name, check_sources_outside
from tomostain.io.outputs import FolderKind, check_own_folder
from tomostain.paths import StrPath
from tomostain.register.candidate_figure import write_candidate
from tomostain.register.figures import write_in_volume, write_registration
from tomostain.register.locate import SectionLocation
from tomostain.register.registration import Location, Registration

CANDIDATE = "candidate-{}"

POSE = f"{CANDIDATE.format(1)}.yaml"

# Drawn by the user and never overwritten.
EXCLUDE = "exclude.tif"

OUR_FILES = (
    "ct.tif",
    "histology.tif",
    "mask.tif",
    "pair.yaml",
    "qc.png",
    "volume.png",
    "deformation_row_um.tif",
    "deformation_column_um.tif",
    EXCLUDE,
)

# Before the first pair there are at most candidates, and the exclusion that the user drew.
_BEFORE_PAIR = FolderKind("pair", r"candidate-\d+\.(png|yaml)|" + re.escape(EXCLUDE))

_PAIR = FolderKind("pair", "|".join((*map(re.escape, OUR_FILES), _BEFORE_PAIR.files)), "pair.yaml")


class Specimen(TypedDict, total=False):
    """Metadata of the specimen for `pair.yaml`."""

    specimen: str
    subject: str
    implant: str
    weeks: int | None
    stain: str


@dataclass(frozen=True)
class PairFolder:
    """The folder of a pair to be written.

    Attributes
    ----------
    path : Path
    about : Specimen
        Subject, implant, weeks and stain, as far as known.
    overwrite : bool
        Replace an existing pair. Candidates of an earlier run are always replaced.
    made_by : {"register", "study"}
        Stated in `pair.yaml`. A study does not repeat a registration made by a person.
    next_command : str
        Command that accepts a candidate, shown with it: ``{candidate}`` stands for its YAML file.
    """

    path: Path
    about: Specimen = field(default_factory=Specimen)
    overwrite: bool = False
    made_by: str = "register"
    next_command: str = ""


def _only_candidates(out: Path) -> bool:
    return out.is_dir() and all(path.name.startswith("candidate-") for path in out.iterdir())


def check_output(folder: PairFolder, sources: Sequence[StrPath]) -> None:
    """Raise if the folder exists and may not be replaced."""
    check_folder_name(folder.path, "pair")
    refuse_existing(folder.path, folder.overwrite or _only_candidates(folder.path), "pair")
    _check_replaceable(folder.path, sources)


def _check_replaceable(folder: Path, sources: Sequence[StrPath]) -> None:
    """Raise if a folder has an input or a file of the user, or is neither that of a pair nor of candidates."""
    check_sources_outside(folder, "pair", sources)
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    has_pair = any((folder / name).exists() for name in OUR_FILES if name != EXCLUDE)
    check_own_folder(folder, _PAIR if has_pair else _BEFORE_PAIR)


def _exclusion(out: Path) -> bytes | None:
    """Return the exclusion that the user drew in the folder of a pair, if there is one."""
    path = out / EXCLUDE
    return path.read_bytes() if path.is_file() else None


def write_candidates(pair: PairFolder, location: Location, volume: Volume, slide: Slide) -> Path:
    """Write the best poses as images and as YAML. An existing pair is preserved. Return the folder."""
    out, sources = pair.path, (volume.path, slide.path)
    folder = out.with_name(f"{out.name}-candidates") if (out / "pair.yaml").is_file() else out
    _check_replaceable(folder, sources)
    exclusion = _exclusion(folder)
    with atomic_folder(folder, True) as temporary:
        if exclusion is not None:
            (temporary / EXCLUDE).write_bytes(exclusion)
        for number, section in enumerate(location.candidates, start=1):
            name = CANDIDATE.format(number)
            command = pair.next_command.replace("{candidate}", shlex.quote(str(folder / f"{name}.yaml")))
            write_candidate(temporary / f"{name}.png", location, slide, section, number, command)
            text = yaml.safe_dump(state_volume(section, volume).to_dict(), sort_keys=False)
            (temporary / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder


def write_pair(folder: PairFolder, registration: Registration, details: dict[str, object]) -> None:
    """Write the arrays, `pair.yaml` and the figures of a pair."""
    pair, location = registration.pair, registration.location
    evidence, mutual = location.evidence, registration.similarity["normalised_mutual_information"]
    title = (
        f"{pair.id}: confidence {evidence.confidence:.2f}, {evidence.describe()},\n"
        f"normalised mutual information {mutual:.3f}, {pair.voxel_um:g} µm per pixel"
    )
    exclusion = _exclusion(folder.path)
    warn_of_moved_exclusion(folder.path, pair.section, pair.mask.shape)
    with atomic_folder(folder.path, folder.overwrite or _only_candidates(folder.path)) as temporary:
        if exclusion is not None:
            (temporary / EXCLUDE).write_bytes(exclusion)
        save_pair(pair, temporary, details=details)
        if registration.shift_um is not None:
            write_image(temporary / "deformation_row_um.tif", registration.shift_um[..., 0])
            write_image(temporary / "deformation_column_um.tif", registration.shift_um[..., 1])
        write_registration(temporary / "qc.png", pair.ct, pair.histology, pair.mask, title)
        if isinstance(location, SectionLocation):
            write_in_volume(temporary / "volume.png", location.resolution, location.template, location.section)
