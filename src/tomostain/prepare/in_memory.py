"""Specimens that are given as open objects: their names, and their registration in this process."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from tomostain.dataset.pair import check_id
from tomostain.errors import InputError, OmittedSpecimenWarning, warn_user
from tomostain.prepare.config import PrepareConfig, registration_options
from tomostain.prepare.specimen_input import NamedSpecimen, SpecimenInput
from tomostain.progress import Progress, silent, track


def named_specimens(specimens: Iterable[SpecimenInput]) -> list[NamedSpecimen]:
    """Return specimens with open volumes and slides, and the names of their pairs, as in a table.

    Raises
    ------
    InputError
        If there are none, one is something else or has no valid name, or a volume or slide cannot be opened.
    """
    listed = list(specimens) if isinstance(specimens, Iterable) else []
    if not listed or not all(isinstance(each, SpecimenInput) for each in listed):
        raise InputError(
            "`table`: expected the path of a CSV table or a list of SpecimenInput, found "
            f"{type(next((each for each in listed if not isinstance(each, SpecimenInput)), specimens)).__name__}",
            parameter="table",
        )
    counts = Counter(each.specimen for each in listed)
    numbers: Counter[str] = Counter()
    named = []
    for each in listed:
        numbers[each.specimen] += 1
        pair_id = f"{each.specimen}-{numbers[each.specimen]}" if counts[each.specimen] > 1 else each.specimen
        volume, slide = each.open_volume(), each.open_slide()
        sources = {"volume": str(volume.path), "slide": str(slide.path), "section": "registration"}
        if each.section is not None:
            sources["section"] = type(each.section).__name__.lower()
        opened = replace(each, volume=volume, slide=slide)
        named.append(NamedSpecimen(check_id(pair_id), f"specimen '{each.specimen}'", opened, sources))
    return named


def register_inputs(
    specimens: Sequence[NamedSpecimen], config: PrepareConfig, device: str = "auto", progress: Progress = silent
) -> list[NamedSpecimen]:
    """Register the specimens without a section, one after the other. Those that are not found are left out.

    Raises
    ------
    InputError
        If none remains; it states the reason for each.

    Warns
    -----
    OmittedSpecimenWarning
        If one is left out.
    """
    located: dict[str, NamedSpecimen] = {each.id: each for each in specimens if each.specimen.section is not None}
    waiting = [each for each in specimens if each.id not in located]
    reasons: dict[str, str] = {}
    for each in track(waiting, "registering", progress):
        try:
            located[each.id] = _registered(each, config, device)
        except InputError as error:
            reasons[each.id] = str(error)
    if not located:
        raise none_registered(reasons)
    warn_of_left_out(reasons)
    return [located[each.id] for each in specimens if each.id in located]


def _registered(named: NamedSpecimen, config: PrepareConfig, device: str) -> NamedSpecimen:
    # Imported here, because it imports torch, which `import tomostain.prepare` must not do.
    from tomostain.register.api import register_slide
    from tomostain.register.config import RegisterConfig

    specimen = named.specimen
    options = RegisterConfig.from_dict(registration_options(specimen.implant, config))
    registration = register_slide(specimen.volume, specimen.slide, options, device=device)
    return replace(named, specimen=replace(specimen, section=registration))


def none_registered(reasons: Mapping[str, str]) -> InputError:
    """Return the error that no section was found."""
    listed = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    return InputError(f"no specimen could be registered ({listed})")


def warn_of_left_out(reasons: Mapping[str, str]) -> None:
    """Warn of the specimens whose section was not found."""
    for name, reason in reasons.items():
        warn_user(f"specimen '{name}' is left out: {reason}", OmittedSpecimenWarning)
