"""The grey values of background and bone of a volume: given or estimated, and shown in a figure next to the output."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.imaging.intensity import IntensityReference, full_range_reference
from tomostain.imaging.intensity_estimation import estimate_reference, reference_regions, reference_samples
from tomostain.imaging.network_range import CT_BACKGROUND, CT_BONE
from tomostain.io import Volume
from tomostain.io.atomic import atomic_file
from tomostain.io.output_folder import ENDINGS, base_name, check_sources_outside
from tomostain.io.outputs import check_output_file
from tomostain.paths import StrPath

# Marks a figure as written by this module; part of the file format.
_MARK = "tomostain-levels"
NORMALISED = IntensityReference(CT_BACKGROUND, CT_BONE)


def find_reference(
    volume: Volume,
    intensity: IntensityReference | Literal["auto", "normalised", "range"],
    source: str,
    figure: Path | None = None,
    *,
    overwrite: bool = False,
    replace_other_volume: bool = False,
) -> IntensityReference | None:
    """Return the grey values of background and bone of a volume, and show them in a figure.

    Parameters
    ----------
    volume : Volume
    intensity : IntensityReference, "auto", "normalised" or "range"
        "auto": estimate them from the volume (paper section 2.5). "range": scale the full range of its integer type, as
        ``normalise: range`` of `tomostain.prepare.AlignedConfig` does.
    source : str
        Named in error messages.
    figure : Path, optional
        PNG of the histogram. An older figure of this function is replaced if it shows other values.
    overwrite : bool
        Replace any other file at `figure`.
    replace_other_volume : bool
        Replace a figure of this function that shows another volume, but no other file.

    Returns
    -------
    IntensityReference or None
        None if the volume is normalised.

    Raises
    ------
    InputError
        If the volume has no integer type for "range"; if no bone is found (the figure is written nevertheless), or if
        `figure` is not the name of a PNG or is an existing file.
    """
    output = None if figure is None else _Figure(figure, volume)
    if output is not None:
        output.check(overwrite=overwrite, replace_other_volume=replace_other_volume)
    if intensity == "range":
        intensity = full_range_reference(volume.dtype, source, getattr(volume, "bits", None))
    if intensity != "auto":
        reference = NORMALISED if intensity == "normalised" else intensity
        if output is not None and not output.shows(reference):
            output.write(reference_samples(volume, source=source), reference)
        return None if intensity == "normalised" else reference
    samples = reference_samples(volume, source=source)
    try:
        reference = estimate_reference(samples, source)
    except InputError as error:
        if output is None:
            raise
        output.write(samples, None)
        raise InputError(f"{error}; the histogram is in {figure}") from None
    if output is not None and not output.shows(reference):
        output.write(samples, reference, with_regions=True)
    return reference


def is_left_over(figure: Path | None, out: StrPath | None) -> bool:
    """Return whether a figure has the default name for an output, and no output that it could belong to exists."""
    if figure is None or out is None:
        return False
    out, name = Path(out), base_name(out)
    is_default = figure == out.with_name(f"{name}-levels.png")
    return is_default and not any(out.with_name(f"{name}{ending}").exists() for ending in ("", *ENDINGS))


@dataclass(frozen=True)
class _Figure:
    """The PNG of the grey values of a volume. It stores a key, so that it is written once for any number of resumes."""

    path: Path
    volume: Volume

    def check(self, *, overwrite: bool, replace_other_volume: bool = False) -> None:
        """Raise unless the file may be written."""
        if self.path.suffix.lower() != ".png":
            raise InputError(
                f"{self.path}: the figure of the grey values is a PNG; give a name that ends with .png",
                parameter="intensity_figure",
            )
        what, stored = "figure of the grey values, or another file of this name,", self._stored_key()
        check_sources_outside(self.path, "figure of the grey values", [self.volume.path])
        if stored is not None and stored.startswith(self._volume_key):
            return
        if stored is not None and not (replace_other_volume or overwrite):
            raise InputError(
                f"{self.path}: the figure of the grey values shows another volume, from which the output of this name "
                "may have been stained; give another name, or add `overwrite=True` to replace both"
            )
        if stored is None or not replace_other_volume:
            check_output_file(self.path, what, overwrite=overwrite)

    def shows(self, reference: IntensityReference | None) -> bool:
        """Return whether the file exists and shows this reference."""
        return self._stored_key() == self._key(reference)

    def write(self, samples: NDArray[Any], reference: IntensityReference | None, *, with_regions: bool = False) -> None:
        """Draw the histogram of some slices (N, Y, X), and the regions of background and bone if they were found."""
        from PIL import Image
        from PIL.PngImagePlugin import PngInfo

        from tomostain.imaging.intensity_figure import intensity_figure

        regions = reference_regions(samples) if with_regions else None
        title = f"{self.volume.path.name}: {len(samples)} of {self.volume.shape[0]} slices"
        about = PngInfo()
        about.add_text(_MARK, self._key(reference))
        image = Image.fromarray(intensity_figure(samples, reference, regions, title))
        with atomic_file(self.path, overwrite=True) as temporary:
            image.save(temporary, pnginfo=about)

    def _key(self, reference: IntensityReference | None) -> str:
        return f"{self._volume_key}{reference}"

    @property
    def _volume_key(self) -> str:
        return f"{self.volume.path.name} {self.volume.shape} "

    def _stored_key(self) -> str | None:
        """Return the key that the file stores; None if it is not such a figure, or does not exist."""
        from PIL import Image, UnidentifiedImageError

        try:
            with Image.open(self.path) as image:
                key: str | None = image.info.get(_MARK)
                return key
        except (OSError, UnidentifiedImageError):
            return None
