"""The grey levels of a volume that is to be stained: found on it or given, and shown in a picture beside the output."""

from pathlib import Path
from typing import Any

from tomostain.errors import InputError
from tomostain.imaging.intensity import IntensityReference, estimate_reference, reference_regions, reference_samples
from tomostain.imaging.network_range import CT_BACKGROUND, CT_BONE
from tomostain.io import Volume
from tomostain.io.atomic import atomic_file, refuse_existing

_OURS = "tomostain-levels"
NORMALISED = IntensityReference(CT_BACKGROUND, CT_BONE)


def levels_of(
    volume: Volume,
    given: IntensityReference | str | None,
    source: str,
    picture: Path | None = None,
    overwrite: bool = False,
) -> IntensityReference | None:
    """Return the grey levels of a volume, None if it is normalised, and show them in a picture.

    Parameters
    ----------
    volume : Volume
    given : IntensityReference, "none" or None
        "none" if the volume is normalised; None to estimate them on it (paper section 2.5).
    source : str
        Named in error messages.
    picture : Path, optional
        PNG of the histogram with the levels. One that was written before is replaced if it shows others.
    overwrite : bool
        Replace a file at `picture` that is something else.

    Raises
    ------
    InputError
        If no bone stands out (the histogram is written nevertheless), or `given` or `picture` cannot be.
    """
    if isinstance(given, str) and given != "none":
        raise InputError(
            f"levels '{given}': expected IntensityReference, None to estimate them, or 'none' if normalised"
        )
    if picture is not None:
        if picture.suffix.lower() != ".png":
            raise InputError(f"{picture}: the picture of the grey levels is a PNG; give a name that ends with .png")
        if _shown_in(picture) is None:
            refuse_existing(picture, overwrite, "picture of the grey levels, or what has its name,")
    if given is not None:
        levels = NORMALISED if isinstance(given, str) else given
        if picture is not None and _shown_in(picture) != _key(volume, levels):
            _write(picture, volume, reference_samples(volume, source=source), levels, found=False)
        return None if isinstance(given, str) else levels
    samples = reference_samples(volume, source=source)
    try:
        levels = estimate_reference(samples, source)
    except InputError as error:
        if picture is None:
            raise
        _write(picture, volume, samples, None, found=False)
        raise InputError(f"{error}; the histogram is in {picture}") from None
    if picture is not None and _shown_in(picture) != _key(volume, levels):
        _write(picture, volume, samples, levels, found=True)
    return levels


def _write(picture: Path, volume: Volume, samples: Any, levels: IntensityReference | None, found: bool) -> None:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    from tomostain.imaging.intensity_figure import intensity_figure

    regions = reference_regions(samples) if found else None
    title = f"{volume.path.name}: {len(samples)} of {volume.shape[0]} slices"
    drawn = intensity_figure(samples, levels, regions, title)
    about = PngInfo()
    about.add_text(_OURS, _key(volume, levels))
    with atomic_file(picture, overwrite=True) as temporary:
        Image.fromarray(drawn).save(temporary, pnginfo=about)


def _key(volume: Volume, levels: IntensityReference | None) -> str:
    """Return what a picture shows, so that it is drawn once however often a staining is gone on with."""
    return f"{volume.path.name} {volume.shape} {levels}"


def _shown_in(picture: Path) -> str | None:
    """Return the key of a picture of ours that is there; None if there is none."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(picture) as image:
            return image.info.get(_OURS)
    except (OSError, UnidentifiedImageError):
        return None
