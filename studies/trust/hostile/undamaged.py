"""Undamaged inputs: every command must succeed with them, or a refusal of the damaged ones would prove nothing."""

from collections.abc import Callable, Iterator
from pathlib import Path

from studies.trust.hostile import documents, images, models, stored, volumes
from studies.trust.hostile.case import Case, Command, Rng


def cases() -> Iterator[Case]:
    """One case for each format and verb."""

    def writing(write: Callable[[Path], object]) -> Callable[[Path, Rng], None]:
        def make(folder: Path, rng: Rng) -> None:
            write(folder)

        return make

    def case(
        name: str, make: Callable[[Path, Rng], None], commands: tuple[Command, ...], probe: str | None = None
    ) -> Case:
        return Case("undamaged", name, make, commands, "right", probe)

    for index, (kind, base, name, _) in enumerate(volumes.BASES):
        commands = volumes.readers(name, index)
        yield case(f"{kind} {base.__name__}", writing(base), commands, name)
    every = tuple(dict.fromkeys(command for number in range(8) for command in volumes.readers("v.tif", number)))
    yield case("tiff, every verb", writing(volumes.plain_tiff), every, "v.tif")
    for base, name in images.SLIDES:
        for _ in range(2):
            made = images.slide_case(name, name, writing(base))
            yield case(f"slide {name}", made.make, made.commands)
    yield case("aligned", writing(images.aligned_base), images.PREPARE)
    for made in documents.undamaged():
        yield case(f"{made.kind} {made.operator}", made.make, made.commands)
    for number in range(5):
        yield case(f"model {number}", models.case("", lambda model, rng: None, "any").make, models.commands(number))
    for number in range(5):
        yield case(
            f"stained {number}",
            lambda folder, rng: (stored.copy(folder, stored.STAINED), None)[1],
            stored.stained_commands(number),
        )
    for number in range(2):
        yield case(
            f"dataset {number}",
            lambda folder, rng: (stored.copy(folder, "dataset"), None)[1],
            stored.dataset_commands(number),
        )
    yield case("run", lambda folder, rng: (stored.copy(folder, "run"), None)[1], (stored.RESUME, stored.EVALUATE))
