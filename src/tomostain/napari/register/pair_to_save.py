"""A pair that the widget Register writes, and what it says about it."""

from dataclasses import dataclass

from tomostain.geometry.section import Section
from tomostain.napari.register.inputs import Inputs
from tomostain.progress import Progress, ShouldStop, raising_on_stop
from tomostain.register.files import register_opened, use_location
from tomostain.register.hints import Hint
from tomostain.register.locate import SectionLocation
from tomostain.register.pair_files import PairFolder
from tomostain.register.registration import Registration


@dataclass(frozen=True, eq=False)
class PairToSave:
    """A pair that is to be written.

    Attributes
    ----------
    inputs : Inputs
    section : Section
        The accepted pose.
    origin : str
        How the pose was found.
    folder : PairFolder
    refine : bool
        Refine the pose first.
    deform : bool
        Deform the soft tissue.
    location : SectionLocation or None
        Of the last search.
    """

    inputs: Inputs
    section: Section
    origin: str
    folder: PairFolder
    refine: bool = False
    deform: bool = False
    location: SectionLocation | None = None

    def write(self, progress: Progress, should_stop: ShouldStop) -> Registration:
        """Write the pair; the work of a task."""
        volume, slide, config = self.inputs.volume, self.inputs.slide, self.inputs.config
        config = config.model_copy(update={"deform": self.deform or config.deform})
        if self.location is not None and self.origin == "search" and not self.refine:
            # Unchanged since the search: the same files as of `tomostain register`.
            certain = Hint(accept=not self.location.evidence.sure)
            return use_location(volume, slide, self.location, config, hint=certain, folder=self.folder)
        hint = Hint(self.section, accept=True, refine=self.refine, source=self.origin)
        report = raising_on_stop(progress, should_stop, self.folder.path)
        return register_opened(volume, slide, config, hint=hint, folder=self.folder, progress=report)

    def describe(self, registration: Registration) -> str:
        """Return a text about the pair that was written."""
        evidence, path = registration.evidence, self.folder.path
        lines = [
            f"Saved: {path}",
            f"confidence {evidence.confidence:.2f} ({evidence.describe()})",
            *registration.warnings,
            f"Check {path / 'qc.png'}. In the table of prepare: section = {path / 'pair.yaml'}",
        ]
        return "\n".join(lines)
