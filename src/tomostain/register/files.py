"""Registration of files: the folder of a pair, or of candidates if the pose is uncertain."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypedDict, Unpack

import torch

from tomostain.errors import InputError, RegistrationUncertainError
from tomostain.io import Slide, Volume
from tomostain.paths import StrPath
from tomostain.progress import Progress, silent
from tomostain.register.config import RegisterConfig
from tomostain.register.hints import Hint
from tomostain.register.inputs import fingerprint
from tomostain.register.locate import locate_section
from tomostain.register.pair_files import POSE, PairFolder, Specimen, check_output, write_candidates, write_pair
from tomostain.register.planar_location import PlanarLocation, locate_in_plane
from tomostain.register.registration import Location, Registration, describe, make_registration
from tomostain.register.single_image import open_slide_or_image, open_volume_or_image

__all__ = ["Hint", "PairFolder", "describe", "register_files", "register_opened"]


class FileOptions(TypedDict, total=False):
    """Keywords of `register_files`."""

    hint: Hint
    voxel_um: float | Sequence[float] | None
    pixel_um: float | None
    dataset: str | None
    allow_missing: bool
    about: Specimen | None
    overwrite: bool
    made_by: str
    invert_histology: bool
    next_command: str
    device: str | torch.device


def register_files(
    volume_path: StrPath,
    slide_path: StrPath,
    out: StrPath,
    config: RegisterConfig | None = None,
    *,
    progress: Progress = silent,
    **options: Unpack[FileOptions],
) -> Registration:
    """Register a slide with a volume and write the pair.

    Parameters
    ----------
    volume_path, slide_path : str or os.PathLike
        See `open_volume` and `open_slide`. If the volume is one image (PNG, TIFF, MHA …), the slide is registered in
        its plane.
    out : str or os.PathLike
        Folder of the pair: ``ct.tif``, ``histology.tif``, ``mask.tif``, ``pair.yaml``, ``qc.png``, and ``volume.png``
        (the section in the volume). If the pose is uncertain: ``candidate-1.png``, ``candidate-1.yaml`` … instead.
    config : RegisterConfig, optional
    progress : Progress
    **options
        ``hint`` (`Hint`): the known part of the pose. ``voxel_um`` (float or three), ``pixel_um`` (float), ``dataset``
        (str): values that the files lack; see `open_volume` and `open_slide`. ``allow_missing`` (bool): fill slices
        of which data are missing with zeros; `pair.yaml` lists them. ``about`` (dict): subject, implant, weeks and
        stain of the specimen. ``overwrite`` (bool): replace an existing pair. ``made_by`` ("register"
        or "study"): stated in `pair.yaml`. ``invert_histology`` (bool): the slide is stored inverted.
        ``next_command`` (str): shown with each candidate, see `PairFolder`. ``device`` (str): ``auto``, ``cpu``,
        ``cuda`` or ``cuda:N``.

    Returns
    -------
    Registration

    Raises
    ------
    RegistrationUncertainError
        If the confidence is below the threshold. The candidates are written, and are attributes of the error.
    InputError
        If a file cannot be read, or volume and slide do not fit together.
    """
    folder = PairFolder(
        Path(out),
        options.get("about") or {},
        options.get("overwrite", False),
        options.get("made_by", "register"),
        options.get("next_command", ""),
    )
    # Checked before the files are opened, and again before writing.
    check_output(folder, (volume_path, slide_path))
    volume = open_volume_or_image(
        volume_path,
        options.get("voxel_um"),
        options.get("dataset"),
        allow_missing=options.get("allow_missing", False),
    )
    inverted = options.get("invert_histology", False)
    slide = open_slide_or_image(slide_path, options.get("pixel_um"), inverted=inverted)
    return register_opened(
        volume,
        slide,
        config,
        hint=options.get("hint", Hint()),
        folder=folder,
        device=options.get("device", "auto"),
        progress=progress,
    )


def register_opened(
    volume: Volume,
    slide: Slide,
    config: RegisterConfig | None = None,
    *,
    hint: Hint = Hint(),
    folder: PairFolder | None = None,
    device: str | torch.device = "auto",
    progress: Progress = silent,
) -> Registration:
    """Register a slide with a volume; write the pair if a folder is given. See `register_files`."""
    config = config or RegisterConfig()
    if folder is not None:
        check_output(folder, (volume.path, slide.path))
    location: Location
    if volume.shape[0] == 1:
        location = locate_in_plane(volume, slide, config, hint, progress)
    else:
        location = locate_section(volume, slide, config, hint=hint, device=device, progress=progress)
    return use_location(volume, slide, location, config, hint=hint, folder=folder)


def use_location(
    volume: Volume,
    slide: Slide,
    location: Location,
    config: RegisterConfig,
    *,
    hint: Hint = Hint(),
    folder: PairFolder | None = None,
) -> Registration:
    """Cut the pair where a section was located, and write it if a folder is given; the last part of a registration.

    Parameters
    ----------
    volume : Volume
    slide : Slide
    location : SectionLocation or PlanarLocation
        Of this volume and slide.
    config : RegisterConfig
        With which it was located.
    hint : Hint
        With which it was located. With ``accept=True`` it may be uncertain.
    folder : PairFolder, optional

    Raises
    ------
    RegistrationUncertainError, InputError
        See `register_files`.
    """
    if folder is not None:
        check_output(folder, (volume.path, slide.path))
    if not (location.evidence.sure or hint.accept):
        where = None if folder is None else write_candidates(folder, location, volume, slide)
        raise RegistrationUncertainError(_uncertain(location, where), candidates=location.candidates)
    if folder is None:
        return make_registration(volume, slide, location, config)
    try:
        registration = make_registration(volume, slide, location, config, folder.path.name)
        registration = replace(registration, pair=replace(registration.pair, **folder.about))
        details = {
            **registration.details,
            **describe(location, config),
            "hinted": hint.given,
            **hint.record(),
            "made_by": folder.made_by,
            "source": {"volume": str(volume.path), "slide": str(slide.path)},
            **volume.missing_record(),
            "inputs": fingerprint(volume, slide),
            "similarity": registration.similarity,
        }
        write_pair(folder, registration, details)
    except InputError as error:
        # The search took minutes, so its result is saved.
        path = write_candidates(folder, location, volume, slide) / POSE
        raise InputError(f"{error}. The section was found; to reuse it, set `init` to {path}") from None
    return registration


def _uncertain(location: Location, folder: Path | None) -> str:
    """Return the message of an uncertain registration."""
    evidence = location.evidence
    message = f"not sure where the section lies (confidence {evidence.confidence:.2f}, {evidence.describe()}); "
    hints = "`landmarks`" if isinstance(location, PlanarLocation) else "`landmarks` or `axis`"
    if folder is None:
        return message + (
            "look at the `candidates` of this error; if one is right, repeat with `hint=Hint(start, accept=True)`; "
            "otherwise give an axis or landmarks, and check that slide and volume are of one specimen, and "
            "that voxel and pixel size are right"
        )
    return message + (
        f"look at {folder}/candidate-*.png; if one is right, repeat with `init` set to {folder}/candidate-1.yaml and "
        f"with `accept=True`; otherwise give {hints}, and check that slide and volume are of one specimen, and that "
        "voxel and pixel size are right"
    )
