"""The plan of a training: what it would do, in how much time."""

import time

from tomostain.networks.build import count_parameters
from tomostain.train.checkpoint import named_networks
from tomostain.train.data import LoadedDataset, PairSource
from tomostain.train.default_recipe import RecipeSource, choose_recipe
from tomostain.train.initial_model import InitialModel, InitSource
from tomostain.train.loop import total_steps
from tomostain.train.trainer import Trainer


def plan_training(
    dataset: PairSource,
    *,
    recipe: RecipeSource | None = None,
    init: InitSource | None = None,
    fold: int | None = 0,
    seed: int = 0,
    device: str = "auto",
    max_steps: int | None = None,
) -> list[str]:
    """Return a summary of a training, one line per fact: pairs, parameters, steps, and the time from timed steps.

    The parameters are those of `train_model`.
    """
    initial = None if init is None else InitialModel.open(init)
    choice = choose_recipe(recipe, device=device, initial=initial)
    chosen = choice.recipe
    data = LoadedDataset.open(dataset)
    if initial is not None:
        initial.check(chosen)
        initial.warn_about_voxel_size(data.voxel_um, str(data.path))
    trainer = Trainer(chosen, data, fold, seed, device)
    split = data.split(fold)
    total = total_steps(trainer, max_steps)
    seconds = float("inf")
    for _ in range(4):  # the first steps select kernels
        began = time.monotonic()
        trainer.take_step()
        seconds = min(seconds, time.monotonic() - began)
    parameters = sum(map(count_parameters, named_networks(trainer.state.networks).values()))
    size = trainer.context.size
    together = f", the first of {size} processes with {chosen.batch // size} patches each" if size > 1 else ""
    pairs = f"{len(split.train)} for training, {len(split.validation)} for validation, {len(split.test)} held out"
    return [
        f"pairs:      {pairs}",
        f"recipe:     {choice}: {', '.join(f'{name} {weight:g}' for name, weight in chosen.active.items())}",
        *([] if initial is None else [f"initial:    {initial}"]),
        f"networks:   {parameters / 1e6:.2f} million parameters; `last` takes at least {parameters * 12 / 1e6:.0f} MB",
        f"device:     {trainer.fabric.device}{together}",
        f"steps:      {total} of {chosen.batch} patches of {chosen.patch_px} px; {trainer.steps_per_epoch} per epoch",
        f"time:       about {seconds * total / 60:.0f} min at {seconds:.2f} s per step (best of four timed steps)",
    ]
