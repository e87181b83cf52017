"""Training: draw a batch, improve the generators, improve the discriminators, keep the books."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from tomostain import __version__
from tomostain.config import read_yaml
from tomostain.errors import InputError, Interrupted
from tomostain.interrupt import listen_for_interrupt
from tomostain.io.atomic import refuse_existing, write_text
from tomostain.prepare import Dataset, load_dataset
from tomostain.progress import Progress, silent
from tomostain.train.buffer import ImageBuffer
from tomostain.train.checkpoint import LAST, State, load_last, named_networks, save_best, save_last
from tomostain.train.export import export_model
from tomostain.train.logbook import Logbook, sample_picture, write_sample
from tomostain.train.losses import discriminator, masked_l1
from tomostain.train.networks import build_network, count_parameters
from tomostain.train.objective import Networks, Step, compute_terms, weighted_sum
from tomostain.train.recipes import Recipe, load_recipe
from tomostain.train.sampling import PatchSampler

LOG_EVERY_STEPS = 10
CHECKPOINT_EVERY_S = 60.0
VALIDATION_BATCHES = 4


def train(
    dataset: Path,
    run: Path,
    *,
    recipe: str | Path | Recipe = "paired-cyclegan-cpu",
    fold: int | None = 0,
    seed: int = 0,
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
    max_steps: int | None = None,
    max_seconds: float | None = None,
    progress: Progress = silent,
) -> Path:
    """Train the networks of a recipe on a dataset (paper section 2.6.3).

    Parameters
    ----------
    dataset, run : Path
        The dataset; the folder that gets recipe, metrics, samples, checkpoints and the model.
    recipe : str, Path or Recipe
        A name, a YAML file or a recipe.
    fold : int or None
        Which fold validates; None: all pairs but the test set train.
    seed : int
        The same seed gives the same bits on one machine.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    resume : bool
        Go on where `run` stopped, to the same bits as if it had not.
    overwrite : bool
        Begin anew in a folder that holds a run.
    max_steps : int, optional
        Stop after so many steps in all; otherwise after the recipe's epochs.
    max_seconds : float, optional
        Stop after so much training time in all.
    progress : Progress
        Told of every step.

    Returns
    -------
    Path
        `run`; the model of the last state is in `run`/model.

    Raises
    ------
    InputError
        If recipe, dataset and options do not fit together, `run` may not be written, or the loss is not finite.
    Interrupted
        After Ctrl-C, when `last` is written.
    """
    chosen = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    data, run = load_dataset(dataset), Path(run)
    _claim(run, {"dataset": str(data.path.resolve()), "fold": fold, "seed": seed}, chosen, resume, overwrite)
    trainer = Trainer(chosen, data, fold, seed, device)
    if resume:
        load_last(run, trainer.state)
    total = min(trainer.steps_per_epoch * chosen.epochs, max_steps or 10**12)
    book = Logbook(run, trainer.columns, trainer.state.step)
    try:
        _go_on(trainer, run, book, total, max_seconds, progress)
    finally:
        book.close()
    export_model(run, run / "model", overwrite=True)
    return run


def _go_on(
    trainer: "Trainer", run: Path, book: Logbook, total: int, max_seconds: float | None, progress: Progress
) -> None:
    """Take steps until `total`, the time or Ctrl-C says stop; `last` is written whatever the reason."""
    state = trainer.state
    began, saved = time.monotonic() - state.seconds, time.monotonic()
    progress("training", state.step, total)
    with listen_for_interrupt() as stop_asked:
        while state.step < total and (max_seconds is None or state.seconds < max_seconds):
            values = trainer.take_step()
            state.seconds = time.monotonic() - began
            epoch, within = divmod(state.step, trainer.steps_per_epoch)
            if within == 0:
                values |= trainer.end_epoch(run)
            if within == 0 or state.step % LOG_EVERY_STEPS == 0:
                book.write(state.step, epoch, state.seconds, values)
            progress("training", state.step, total)
            if stop_asked.is_set():
                save_last(run, state)
                raise Interrupted(f"{run}: stopped at step {state.step} of {total}; go on with --resume")
            if time.monotonic() - saved > CHECKPOINT_EVERY_S:
                save_last(run, state)
                saved = time.monotonic()
    trainer.write_sample(run)
    save_last(run, state)


class Trainer:
    """A recipe at work on a dataset: its networks, optimisers and draws.

    Parameters
    ----------
    recipe : Recipe
    data : Dataset
    fold : int or None
    seed : int
    device : str

    Attributes
    ----------
    state : State
        All that moves.
    steps_per_epoch : int
    columns : list of str
        What a row of the metrics can hold beside step, epoch and seconds.
    """

    def __init__(self, recipe: Recipe, data: Dataset, fold: int | None, seed: int, device: str) -> None:
        self.recipe = recipe
        self.fabric = _fabric(device)
        torch.backends.cudnn.deterministic = True
        torch.manual_seed(seed)  # dropout
        split = data.split(fold)
        self.sampler = self._sampler(data, split.train)
        self.validation = self._sampler(data, split.validation) if split.validation else None
        self.state = _build_state(recipe, seed, self.fabric)
        self.steps_per_epoch = -(-recipe.patches_per_pair * len(split.train) // recipe.batch)
        self.columns = [*recipe.active, "total", *self.state.networks.discriminators()]
        if self.validation is not None:
            self.columns.append("validation_l1")

    def _sampler(self, data: Dataset, ids: Sequence[str]) -> PatchSampler:
        recipe = self.recipe
        return PatchSampler(
            [data.load(pair_id) for pair_id in ids],
            patch_px=recipe.patch_px,
            batch=recipe.batch,
            augment=recipe.augment,
            device=self.fabric.device,
            in_channels=recipe.in_channels,
            inverted_ct=recipe.inverted_ct,
        )

    def take_step(self) -> dict[str, float]:
        """Take one step of generators and discriminators; return the losses."""
        state, recipe = self.state, self.recipe
        batch = self.sampler.draw(state.draws)
        step = Step(state.networks, batch.x, batch.y, batch.mask)
        values = self._improve_generators(step)
        if recipe.adversarial:
            values |= self._improve_discriminators(step)
        state.step += 1
        bad = [name for name, value in values.items() if not abs(value) < float("inf")]
        if bad:
            raise InputError(f"step {state.step}: the loss '{bad[0]}' is not finite; lower the recipe's learning_rate")
        for name in (*recipe.active, "total"):
            state.sums[name] = state.sums.get(name, 0.0) + values[name]
        return values

    def _improve_generators(self, step: Step) -> dict[str, float]:
        """Descend eq. (4), (7) or (10)."""
        judges = self.state.networks.discriminators().values()
        for judge in judges:
            judge.requires_grad_(False)  # their gradients would be thrown away
        terms = compute_terms(step, self.recipe.active)
        total = weighted_sum(terms, self.recipe.active)
        self._descend("generators", total)
        for judge in judges:
            judge.requires_grad_(True)
        return {name: float(term.detach()) for name, term in terms.items()} | {"total": float(total.detach())}

    def _improve_discriminators(self, step: Step) -> dict[str, float]:
        """Tell real from generated, the generated ones partly from the buffers."""
        networks = self.state.networks
        pairs = {"d_y": (step.y, step.fake_y)}
        if networks.d_x is not None:
            pairs["d_x"] = (step.x, step.fake_x)
        condition = [step.x] if networks.conditional else []
        losses = {}
        for name, (real, fake) in pairs.items():
            judge = networks.discriminators()[name]
            old = self.state.buffers[name].exchange(fake.detach(), self.state.draws)
            losses[name] = discriminator(judge(real, *condition), judge(old, *condition))
        self._descend("discriminators", torch.stack(list(losses.values())).sum())
        return {name: float(loss.detach()) for name, loss in losses.items()}

    def _descend(self, which: str, loss: Tensor) -> None:
        optimiser = self.state.optimisers[which]
        optimiser.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        optimiser.step()

    def end_epoch(self, run: Path) -> dict[str, float]:
        """Keep the weights of every term that was never lower on average, draw a sample; return the validation."""
        for name, total in self.state.sums.items():
            mean = total / self.steps_per_epoch
            if mean < self.state.best.get(name, float("inf")):
                self.state.best[name] = mean
                save_best(run, name, self.state)
        self.state.sums = {}
        self.write_sample(run)
        return {} if self.validation is None else {"validation_l1": self.validate()}

    @torch.no_grad()
    def validate(self) -> float:
        """Return the masked ℓ1 distance of generated and real histology on the same validation patches each time."""
        assert self.validation is not None
        network, draws = self.state.networks.g_xy, torch.Generator().manual_seed(0)
        network.eval()
        distances = []
        for _ in range(VALIDATION_BATCHES):
            batch = self.validation.draw(draws)
            distances.append(float(masked_l1(network(batch.x), batch.y, batch.mask)))
        network.train()
        return sum(distances) / len(distances)

    @torch.no_grad()
    def write_sample(self, run: Path) -> None:
        """Write a picture of two training patches and, where there is a fold, two of validation."""
        networks, draws = self.state.networks, torch.Generator().manual_seed(1)
        for network in networks.generators().values():
            network.eval()
        rows = []
        for sampler in filter(None, (self.sampler, self.validation)):
            batch = sampler.draw(draws)
            fake_y = networks.g_xy(batch.x)
            fake_x = [] if networks.g_yx is None else [networks.g_yx(batch.y)]
            images = [batch.x, fake_y, batch.mask * 2 - 1, batch.y, *fake_x]
            rows += [[image[number] for image in images] for number in range(min(2, len(batch.x)))]
        for network in networks.generators().values():
            network.train()
        write_sample(run, self.state.step, sample_picture(rows))


def _build_state(recipe: Recipe, seed: int, fabric: Any) -> State:
    """Build and initialise networks, optimisers and buffers."""
    draws = torch.Generator().manual_seed(seed)

    def build(spec: dict[str, Any]) -> nn.Module:
        return fabric.setup_module(build_network(spec, draws))

    def adam(modules: dict[str, nn.Module]) -> torch.optim.Optimizer:
        values = [value for module in modules.values() for value in module.parameters()]
        return fabric.setup_optimizers(torch.optim.Adam(values, lr=recipe.learning_rate, betas=recipe.betas))

    networks = Networks(build(recipe.generator_spec()), conditional=recipe.conditional)
    if recipe.needs_reverse:
        networks.g_yx = build(recipe.generator_spec(reverse=True))
    if recipe.adversarial:
        networks.d_y = build(recipe.discriminator_spec())
        networks.d_x = build(recipe.discriminator_spec(reverse=True)) if recipe.needs_reverse else None
    optimisers = {"generators": adam(networks.generators())}
    if recipe.adversarial:
        optimisers["discriminators"] = adam(networks.discriminators())
    buffers = {name: ImageBuffer(recipe.buffer) for name in networks.discriminators()}
    return State(networks, optimisers, buffers, draws)


def _fabric(device: str) -> Any:
    """Return Lightning Fabric on one device."""
    from tomostain.devices import choose_device

    try:
        from lightning_fabric import Fabric
    except ImportError:  # the whole of Lightning carries it under another name
        from lightning.fabric import Fabric  # type: ignore[no-redef]
    place = choose_device(device)
    return Fabric(accelerator=place.type, devices=[place.index or 0] if place.type == "cuda" else 1)


def _claim(run: Path, facts: dict[str, Any], recipe: Recipe, resume: bool, overwrite: bool) -> None:
    """Write what the run is made of, or make sure that the run to be resumed is made of the same."""
    values = facts | {"recipe": recipe.model_dump(mode="json")}
    note = run / "run.yaml"
    if resume:
        if not (run / LAST).is_file():
            raise InputError(f"{run}: nothing to resume (it has no '{LAST}'); train without --resume")
        before = read_yaml(note)
        for key, value in values.items():
            if before.get(key) != value:
                raise InputError(f"{run}: was begun with another {key}; resume with the same, or train in a new folder")
        return
    if not (overwrite and note.is_file()):
        refuse_existing(run, overwrite=False, what="run")
    for old in [run / LAST, run / "metrics.csv", *run.glob("best-*"), *run.glob("events.*")]:
        old.unlink(missing_ok=True)
    write_text(run / "recipe.yaml", recipe.to_yaml())
    write_text(note, yaml.safe_dump(values | {"tomostain_version": __version__}, sort_keys=False, allow_unicode=True))


def plan_training(
    dataset: Path,
    *,
    recipe: str | Path | Recipe = "paired-cyclegan-cpu",
    fold: int | None = 0,
    seed: int = 0,
    device: str = "auto",
    max_steps: int | None = None,
) -> list[str]:
    """Return what training would take, a line each: pairs, parameters, steps, and the time from two timed steps."""
    chosen = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    data = load_dataset(dataset)
    trainer = Trainer(chosen, data, fold, seed, device)
    split = data.split(fold)
    total = min(trainer.steps_per_epoch * chosen.epochs, max_steps or 10**12)
    seconds = float("inf")
    for _ in range(4):  # the first ones find out which kernels suit
        began = time.monotonic()
        trainer.take_step()
        seconds = min(seconds, time.monotonic() - began)
    parameters = sum(map(count_parameters, named_networks(trainer.state.networks).values()))
    pairs = f"{len(split.train)} for training, {len(split.validation)} for validation, {len(split.test)} kept out"
    return [
        f"pairs:      {pairs}",
        f"recipe:     {chosen.name}: {', '.join(f'{name} {weight:g}' for name, weight in chosen.active.items())}",
        f"networks:   {parameters / 1e6:.2f} million parameters; `last` takes {parameters * 12 / 1e6:.0f} MB or more",
        f"device:     {trainer.fabric.device}",
        f"steps:      {total} of {chosen.batch} patches of {chosen.patch_px} px; {trainer.steps_per_epoch} an epoch",
        f"time:       about {seconds * total / 60:.0f} min at {seconds:.2f} s a step (best of four timed)",
    ]
