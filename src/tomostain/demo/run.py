"""The demo: specimens, registration, pairs, training, staining, evaluation, and one page with the results.

Every stage leaves files and is skipped if they are complete, so a second run continues.
"""

from dataclasses import dataclass
from pathlib import Path

from tomostain.demo.config import HELD_OUT, DemoConfig
from tomostain.demo.facts import next_commands
from tomostain.demo.page import demo_page
from tomostain.demo.plan import SETTINGS, check_folder
from tomostain.demo.stages import RECORD, Announce, StageRunner, plan_stages, silently
from tomostain.demo.truth import (
    COMPARISON,
    TruthSlices,
    compare_slices,
    evaluate_against_truth,
    margins,
    read_comparison,
    verdict,
)
from tomostain.errors import InputError
from tomostain.evaluate import Table
from tomostain.installation import available_cores
from tomostain.io import open_stained
from tomostain.io.atomic import write_text
from tomostain.paths import StrPath
from tomostain.phantom import PhantomConfig, write_study
from tomostain.prepare import PrepareConfig, prepare_specimens
from tomostain.prepare.specimens import find_sections, registration_folder
from tomostain.prepare.table import read_table
from tomostain.progress import Progress, ShouldStop, never, raising_on_stop, silent
from tomostain.register.config import RegisterConfig
from tomostain.stain import StainConfig, stain_volume
from tomostain.train import train_model

# A smaller search than the default. On the phantoms of the demo it finds the same sections in a third of the time
# (`studies/demo`).
_SEARCH = RegisterConfig(candidates=120, side=18, step_deg=20.0, max_voxels=128, restarts=4)


@dataclass(frozen=True)
class DemoResult:
    """Paths of the results of the demo.

    Attributes
    ----------
    folder, dataset, run, model, stained, report : Path
        Folder of the demo and its contents.
    table : Table
        The stained volume of the held-out specimen compared with its truth, with the baselines.
    next_commands : tuple of str
        Commands that continue from the demo.
    """

    folder: Path
    dataset: Path
    run: Path
    model: Path
    stained: Path
    report: Path
    table: Table
    next_commands: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """In which metrics the model is better than the strongest baseline, in one or two sentences."""
        return verdict(margins(self.table))


def run_demo(
    out: StrPath,
    config: DemoConfig | None = None,
    *,
    device: str = "auto",
    progress: Progress = silent,
    announce: Announce = silently,
    should_stop: ShouldStop = never,
) -> DemoResult:
    """Run the whole pipeline on phantoms.

    Several stages use all cores in processes that are spawned, so a script must call this function under
    ``if __name__ == "__main__":``.

    Parameters
    ----------
    out : Path
        Folder. A demo with the same settings continues in it.
    config : DemoConfig, optional
        Settings. Default: `DemoConfig.default`.
    device : str
        Device of registration, training and staining: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    progress : Progress
        Listener. The labels begin with the number of the stage; one more label reports the overall progress.
    announce : Announce
        Called at the beginning of each stage, with what it does and the time left.
    should_stop : function
        Asked at every progress report. If it returns True, the demo stops; run it again to continue.

    Returns
    -------
    DemoResult

    Raises
    ------
    InputError
        If `out` contains other files, or a demo with other settings.
    InterruptedRunError
        If `should_stop` returned True.
    """
    config = config or DemoConfig.default()
    out = Path(out)
    _begin(out, config)
    stages = StageRunner(plan_stages(config), out / RECORD, progress, announce)
    demo = _Demo(out, config, stages, should_stop, device)
    demo.prepare()
    demo.train()
    demo.stain()
    return demo.report()


def _begin(out: Path, config: DemoConfig) -> None:
    """Mark the folder as a demo, or check that it contains a demo with these settings."""
    if not check_folder(out, config):
        write_text(out / SETTINGS, config.to_yaml())


def _jobs() -> int:
    """Return the number of processes: each takes about 0.6 GB, so at most three stay below 2 GB."""
    return min(available_cores(), 3)


@dataclass(frozen=True)
class _Demo:
    """A demo in a folder. Its methods are called in their order."""

    out: Path
    config: DemoConfig
    stages: StageRunner
    should_stop: ShouldStop
    device: str = "auto"

    @property
    def dataset(self) -> Path:
        return self.out / "dataset"

    @property
    def run(self) -> Path:
        return self.out / "run"

    @property
    def stained(self) -> Path:
        return self.out / "stained.ome.zarr"

    def _stopping(self, progress: Progress) -> Progress:
        """Return a listener that ends the work after a request to stop."""
        return raising_on_stop(progress, self.should_stop, self.out)

    def prepare(self) -> None:
        """Make specimens, registrations and the dataset. The held-out specimen is the test set."""
        config, is_prepared = self.config, self.dataset.is_dir()
        settings = PrepareConfig(test_subjects=(HELD_OUT,), seed=config.seed, jobs=_jobs(), registration=_SEARCH)
        folders = [self.out / "specimens" / specimen.id for specimen in config.specimens]
        with self.stages.stage("specimens", reused=all(map(Path.is_dir, folders))) as progress:
            table = self._write_specimens(self._stopping(progress))
        with self.stages.stage("registration", reused=is_prepared) as progress:
            if config.find_sections and not is_prepared:
                # `prepare_specimens` finds them finished.
                folder = registration_folder(self.dataset)
                find_sections(read_table(table), folder, settings, self.device, self._stopping(progress))
        with self.stages.stage("pairs", reused=is_prepared) as progress:
            if not is_prepared:
                prepare_specimens(table, self.dataset, settings, device=self.device, progress=self._stopping(progress))

    def _write_specimens(self, progress: Progress) -> Path:
        """Generate the missing specimens; return the table that lists them."""
        config = self.config
        common = {
            "shape": config.shape,
            "voxel_um": config.voxel_um,
            "pixel_um": config.pixel_um,
            "stain": config.stain,
            "orientation": "lying",
        }
        configs = {
            specimen.id: PhantomConfig.from_dict(specimen.model_dump(exclude={"id"}) | common)
            for specimen in config.specimens
        }
        return write_study(
            self.out / "specimens",
            configs,
            sections=not config.find_sections,
            jobs=_jobs(),
            progress=progress,
        )

    def train(self) -> None:
        """Train on all specimens but the held-out one."""
        config = self.config
        is_trained = (self.run / "model").is_dir()
        with self.stages.stage("training", reused=is_trained) as progress:
            if not is_trained:
                train_model(
                    self.dataset,
                    self.run,
                    recipe=config.recipe,
                    init=config.init,
                    fold=None,
                    seed=config.seed,
                    device=self.device,
                    max_steps=config.steps,
                    resume=(self.run / "last").exists(),
                    overwrite=True,
                    progress=progress,
                    should_stop=self.should_stop,
                )

    def stain(self) -> None:
        """Stain the volume of the held-out specimen."""
        config = self.config
        is_stained = _is_whole(self.stained)
        with self.stages.stage("staining", reused=is_stained) as progress:
            if not is_stained:
                stain_volume(
                    self.run / "model",
                    self.out / "specimens" / HELD_OUT / "volume",
                    self.stained,
                    config=StainConfig(patch_px=config.patch_px, stride_px=config.stride_px),
                    device=self.device,
                    progress=progress,
                    should_stop=self.should_stop,
                )

    def report(self) -> DemoResult:
        """Compare the stained volume with the truth, and write the page."""
        comparison, report = self.out / COMPARISON, self.out / "report.html"
        table = read_comparison(comparison)
        slices: TruthSlices | None = None
        with self.stages.stage("evaluation", reused=table is not None) as progress:
            if table is None:
                slices = compare_slices(self.out, self.config, self._stopping(progress))
                table = evaluate_against_truth(slices, self.dataset, out=comparison)
        with self.stages.stage("report", reused=report.is_file()) as progress:
            if not report.is_file():
                stopping = self._stopping(progress)
                slices = slices or compare_slices(self.out, self.config, stopping)
                demo_page(self.out, self.config, slices, table, seconds=self.stages.seconds, progress=stopping)
        commands = next_commands(self.out, self.config)
        return DemoResult(self.out, self.dataset, self.run, self.run / "model", self.stained, report, table, commands)


def _is_whole(stained: Path) -> bool:
    try:
        open_stained(stained)
    except InputError:
        return False
    return True
