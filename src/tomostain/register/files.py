"""From a volume and a slide on disk to a pair's folder, or to "not sure" and three candidates to choose from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from tomostain import __version__
from tomostain.dataset.cut_pair import CutConfig, cut_pair
from tomostain.dataset.pair import Pair, save_pair
from tomostain.errors import InputError, RegistrationUncertainError
from tomostain.geometry.section import Section
from tomostain.imaging.slide_reference import slide_reference
from tomostain.io import Slide, Volume, open_slide, open_volume, write_image
from tomostain.io.atomic import atomic_folder, refuse_existing
from tomostain.progress import Progress, silent
from tomostain.register.config import RegisterConfig
from tomostain.register.deformation import deform, load_simpleitk, warp
from tomostain.register.figures import candidate_picture, write_in_volume, write_registration
from tomostain.register.inputs import fingerprint
from tomostain.register.locate import Located, locate
from tomostain.register.similarity import mutual_information, normalised_mutual_information

CANDIDATE = "candidate-{}"
POSE = f"{CANDIDATE.format(1)}.yaml"
# Drawn by hand, never written over.
EXCLUDE = "exclude.tif"
OURS = (
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


@dataclass(frozen=True)
class Hint:
    """What a person knows of the pose.

    Attributes
    ----------
    start : Section, optional
        A pose to begin with: only its neighbourhood is searched.
    axis : ndarray of float64, shape (3,), optional
        A direction (z, y, x) that lies in the section within 12°.
    accept : bool
        Write the pair though the confidence is low; `pair.yaml` says so.
    """

    start: Section | None = None
    axis: NDArray[np.float64] | None = None
    accept: bool = False

    @property
    def given(self) -> bool:
        """Whether there is any."""
        return self.start is not None or self.axis is not None or self.accept


def register_files(
    volume_path: Path,
    slide_path: Path,
    out: Path,
    config: RegisterConfig | None = None,
    *,
    hint: Hint = Hint(),
    voxel_um: float | Sequence[float] | None = None,
    pixel_um: float | None = None,
    dataset: str | None = None,
    about: dict[str, Any] | None = None,
    overwrite: bool = False,
    made_by: str = "person",
    progress: Progress = silent,
) -> Located:
    """Find the section of a slide in a volume and write the pair.

    Parameters
    ----------
    volume_path, slide_path : Path
        See `open_volume` and `open_slide`.
    out : Path
        The pair's folder: ``ct.tif``, ``histology.tif``, ``mask.tif``, ``pair.yaml``, ``qc.png``, ``volume.png`` (the
        section drawn in the volume). Where the pose is not sure: ``candidate-1.png``, ``candidate-1.yaml`` … instead.
    config : RegisterConfig, optional
    hint : Hint
    voxel_um, pixel_um, dataset
        What the files do not say.
    about : dict, optional
        What is known of the specimen: subject, implant, weeks, stain.
    overwrite : bool
        Replace a pair that is there; candidates of an earlier try are replaced anyhow.
    made_by : {"person", "study"}
        Goes into `pair.yaml`: what a person registered, a study does not do again.
    progress : Progress

    Returns
    -------
    Located

    Raises
    ------
    RegistrationUncertainError
        If the confidence is below the threshold; the candidates are written then.
    InputError
        If a file cannot be read, or volume and slide cannot belong together.
    """
    config = config or RegisterConfig()
    if config.deform:
        # Said now, not after the search.
        load_simpleitk()
    out = Path(out)
    only_candidates = out.is_dir() and all(path.name.startswith("candidate-") for path in out.iterdir())
    refuse_existing(out, overwrite or only_candidates, "pair")
    _check_replaceable(out, (volume_path, slide_path))
    volume = open_volume(volume_path, voxel_um=voxel_um, dataset=dataset)
    slide = open_slide(slide_path, pixel_um=pixel_um)
    located = locate(volume, slide, config, start=hint.start, axis=hint.axis, progress=progress)
    if not (located.evidence.sure or hint.accept):
        raise RegistrationUncertainError(_not_sure(_keep(out, located, (volume_path, slide_path)), located))
    by_hand = _drawn(out)
    details = describe(located, config) | {
        "hinted": hint.given,
        "made_by": made_by,
        "source": {"volume": str(volume.path), "slide": str(slide.path)},
        "inputs": fingerprint(volume, slide),
    }
    try:
        with atomic_folder(out, overwrite or only_candidates) as folder:
            if by_hand is not None:
                (folder / EXCLUDE).write_bytes(by_hand)
            _write_pair(folder, out.name, volume, slide, located, config, about or {}, details)
    except InputError as error:
        # Minutes of search are not lost for want of, say, a grey level.
        kept = _keep(out, located, (volume_path, slide_path)) / POSE
        raise InputError(f"{error}. The section was found: {kept} holds it for --init") from None
    return located


def _drawn(out: Path) -> bytes | None:
    """Return the exclusion that was drawn by hand in a pair's folder, if there is one."""
    drawn = out / EXCLUDE
    return drawn.read_bytes() if drawn.is_file() else None


def _keep(out: Path, located: Located, sources: Sequence[Path]) -> Path:
    """Write the best poses, beside a pair that is there: it was better than this, and stays. Return the folder."""
    place = out.with_name(f"{out.name}-candidates") if (out / "pair.yaml").is_file() else out
    _check_replaceable(place, sources)
    by_hand = _drawn(place)
    with atomic_folder(place, True) as folder:
        if by_hand is not None:
            (folder / EXCLUDE).write_bytes(by_hand)
        _write_candidates(folder, located)
    return place


def _check_replaceable(out: Path, sources: Sequence[Path]) -> None:
    """Raise if replacing the folder `out` would lose what is not ours or cannot be made again."""
    if not out.is_dir():
        return
    for source in sources:
        if Path(source).resolve().is_relative_to(out.resolve()):
            raise InputError(f"{source}: lies in {out}, which would be replaced; give the pair another name")
    for path in sorted(out.iterdir()):
        if path.name not in OURS and not path.name.startswith("candidate-"):
            raise InputError(f"{path}: is not of a pair, so {out} is not replaced; give another name or move it away")


def _write_candidates(folder: Path, located: Located) -> None:
    """Write the best poses as pictures and as YAML that `--init` takes."""
    for number, section in enumerate(located.candidates, start=1):
        name = CANDIDATE.format(number)
        write_image(folder / f"{name}.png", candidate_picture(located.level, located.template, section))
        text = yaml.safe_dump(section.to_dict(), sort_keys=False)
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")


def _not_sure(out: Path, located: Located) -> str:
    found = located.evidence
    return (
        f"not sure where the section lies (confidence {found.confidence:.2f}, detail {found.detail:.2f}, "
        f"margin {found.margin:.2f}): look at {out}/candidate-*.png; if one is right, run again with "
        f"--init {out}/candidate-1.yaml --accept; else help with --landmarks or --axis, and check that slide and "
        "volume are of one specimen"
    )


def _write_pair(
    folder: Path,
    name: str,
    volume: Volume,
    slide: Slide,
    located: Located,
    config: RegisterConfig,
    about: dict[str, Any],
    details: dict[str, Any],
) -> None:
    """Cut the pair, write it, and draw it."""
    pixel_um = config.voxel_um or float(min(volume.voxel_um))
    white = slide_reference(slide, config.histology_background, config.histology_bone)
    settings = CutConfig(pixel_um, config.margin_um, located.levels, white)
    pair, levels = cut_pair(volume, slide, located.section, name, settings, str(slide.path))
    pair = replace(pair, **about)
    scores, pair, shift_um = _scores(pair, config)
    save_pair(pair, folder, details=levels | details | {"similarity": scores})
    if shift_um is not None:
        write_image(folder / "deformation_row_um.tif", shift_um[..., 0])
        write_image(folder / "deformation_column_um.tif", shift_um[..., 1])
    sure = located.evidence
    title = (
        f"{name}: confidence {sure.confidence:.2f}, detail {sure.detail:.2f}, "
        f"normalised mutual information {scores['normalised_mutual_information']:.3f}, {pair.voxel_um:g} µm a pixel"
    )
    write_registration(folder / "qc.png", pair.ct, pair.histology, pair.mask, title)
    write_in_volume(folder / "volume.png", located.level, located.template, located.section)


def _scores(pair: Pair, config: RegisterConfig) -> tuple[dict[str, Any], Pair, NDArray[np.float32] | None]:
    """Return mutual information in the mask, and the pair with its soft tissue moved if that is wanted."""
    grey = pair.histology.mean(axis=2)
    scores: dict[str, Any] = {
        "mutual_information_bits": round(mutual_information(pair.ct, grey, pair.mask), 4),
        "normalised_mutual_information": round(normalised_mutual_information(pair.ct, grey, pair.mask), 4),
    }
    if not config.deform:
        return scores, pair, None
    found = deform(pair.ct, pair.histology, pair.mask, pair.voxel_um)
    moved = np.clip(np.rint(warp(pair.histology, found.shift_um / np.float32(pair.voxel_um))), 0, 255)
    scores["deformation"] = {
        "mutual_information_before_bits": round(found.before, 4),
        "mutual_information_after_bits": round(found.after, 4),
        "largest_shift_um": round(found.largest_um, 2),
    }
    return scores, replace(pair, histology=moved.astype(np.uint8)), found.shift_um


def describe(located: Located, config: RegisterConfig) -> dict[str, Any]:
    """Return what `pair.yaml` says of a registration: confidence, strain, hypothesis, software, options, seed."""
    rows, columns, shear = (round(float(x), 5) for x in located.strain)
    size, shape = (rows + columns) / 2, float(np.hypot((rows - columns) / 2, shear))
    warnings = []
    if abs(size) > 0.045:
        warnings.append(f"the slide is {size:+.1%} off in size: check its pixel size")
    usual = 2 * located.template.strain
    if shape > usual:
        warnings.append(f"the section is strained by {shape:.1%}; with this stain {usual:.1%} is hardly exceeded")
    return {
        "registration": {
            **located.evidence.to_dict(),
            "implant_taken_for": located.hypothesis,
            "strain": {"rows": rows, "columns": columns, "shear": shear},
            "warnings": warnings,
            "software": f"tomostain {__version__}",
            "options": config.model_dump(mode="json"),
        }
    }
