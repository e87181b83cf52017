"""The logs of Bruker's NRecon (SkyScan)."""

import re
from pathlib import Path

from tomostain.errors import InputError
from tomostain.io.metadata.scan_log import ScanLog, Sections, not_understood, only_value, positive_number, sections_of
from tomostain.io.metadata.units import to_um

_PIXEL_SIZE_KEY = re.compile(r"(?:result |scaled |resized |image |voxel |and )*(?:pixel|voxel) size\s*(?:\((.*?)\))?")


def skyscan_log(path: Path, text: str) -> ScanLog | None:
    """Read the text of a log of Bruker's NRecon; see `read_log`.

    Raises
    ------
    InputError
        If a size is not understood, or is stated twice with different values.
    """
    _refuse_other_separator(path, text)
    sections = sections_of(text, "=")
    named = {name for name, keys in sections.items() if any(_PIXEL_SIZE_KEY.fullmatch(key) for key in keys)}
    if not named:
        return None
    # The size of the reconstruction counts, else that of the acquisition. Other sections must agree with it: they are
    # of programs that resize a dataset.
    main = next((name for name in ("reconstruction", "acquisition") if name in named), min(named))
    others = named - {"reconstruction", "acquisition", main}
    sizes = [size for name in (main, *sorted(others)) for size in _pixel_sizes(path, sections[name])]
    size = only_value(path, sizes)
    resized = {name for name in sections if re.search(r"resiz|resampl|rebin", name)} - named
    if resized:
        raise InputError(
            f"{path}: the dataset was resized (section [{min(resized)}]), and the new pixel size is not in the log; "
            "give it with `voxel_um`"
        )
    assert size is not None
    reconstruction = sections.get("reconstruction", {})
    steps = [
        positive_number(path, "Section to Section Step", v) for v in reconstruction.get("section to section step", [])
    ]
    step = only_value(path, steps, "section steps") or 1.0
    prefix = sections.get("file name convention", {}).get("filename prefix", [""])[0]
    plane, slices = _result_plane(reconstruction), _reconstructed_sections(reconstruction, steps)
    return ScanLog(path, prefix or path.stem, (size * step, size, size), plane=plane, sections=slices)


def _refuse_other_separator(path: Path, text: str) -> None:
    """Raise if a line states a size with a colon or tab instead of ``=``: the size of another section would count."""
    for line in text.split("\n"):
        key, separator, value = line.partition(":" if ":" in line else "\t")
        if "=" not in line and separator and _PIXEL_SIZE_KEY.fullmatch(key.strip().lower()):
            raise not_understood(path, key, value.strip())


def _reconstructed_sections(reconstruction: dict[str, list[str]], steps: list[float]) -> Sections | None:
    """Return the slices that NRecon reconstructed: ``Sections Count``, ``First Section`` and ``Last Section``.

    Without the count, it follows from the other two and from the steps between sections, if the log states them.
    """
    values = [reconstruction.get(key, [""])[-1] for key in ("sections count", "first section", "last section")]
    count, first, last = (int(value) if value.isdecimal() and len(value) < 9 else None for value in values)
    if first is not None and last is not None:
        first, last = min(first, last), max(first, last)
    derived = not count
    if derived and first is not None and last is not None and len(steps) == 1 and steps[0] >= 1:
        count = int((last - first) // steps[0]) + 1
    if not count:
        return None
    return Sections(count, first, last, derived)


def _pixel_sizes(path: Path, keys: dict[str, list[str]]) -> list[float]:
    """Return all pixel sizes of a section, µm. The size of the camera's pixels is another thing."""
    sizes = []
    for key, values in keys.items():
        match = _PIXEL_SIZE_KEY.fullmatch(key)
        if match is None:
            continue
        for value in values:
            size = to_um(positive_number(path, key, value), match[1])
            if size is None:
                raise not_understood(path, key, value)
            sizes.append(size)
    return sizes


def _result_plane(reconstruction: dict[str, list[str]]) -> tuple[int, int] | None:
    """Return rows and columns of the slices as they were reconstructed, if the log states them."""
    sides = [reconstruction.get(f"result image {side} (pixels)", [""])[-1] for side in ("height", "width")]
    return (int(sides[0]), int(sides[1])) if all(side.isdecimal() and int(side) > 0 for side in sides) else None
