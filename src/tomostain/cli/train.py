"""The verb `train`: train a model on a dataset."""

from pathlib import Path
from typing import Any

import typer

from tomostain.cli.common import DEVICE, DRY_RUN, OVERWRITE, SEED, bars, use_threads
from tomostain.cli.options import option_group
from tomostain.cli.verbs import verb


@option_group
class TrainOptions:
    """How the model is trained."""

    recipe: str | None = typer.Option(
        None,
        help="A name that 'tomostain recipes' lists, or a YAML file (default: that of --init, or the device's).",
    )
    init: str | None = typer.Option(
        None,
        metavar="MODEL",
        help="Begin with the weights of a model: a model folder, a run or builtin:NAME (see 'tomostain models').",
    )
    fold: int = typer.Option(0, help="Fold for validation; -1: train on all folds.")
    seed: int = SEED
    device: str = DEVICE
    resume: bool = typer.Option(False, "--resume", help="Continue RUN where it stopped; gives the same bits.")
    max_steps: int | None = typer.Option(
        None, min=1, help="Number of training steps (default: the epochs of the recipe)."
    )
    max_seconds: float | None = typer.Option(None, min=1, help="Stop after this training time, seconds.")


@verb(
    order=50,
    examples="""
    tomostain train dataset run
    tomostain train dataset run --recipe paired-cyclegan --device cuda
    tomostain train dataset run --init builtin:phantom-tb
    tomostain train dataset run --resume
    tomostain train dataset run-mine --recipe my-recipe.yaml --fold 2
    torchrun --nproc-per-node 4 -m tomostain train dataset run
    srun --ntasks-per-node 4 tomostain train dataset run
""",
)
def train(
    context: typer.Context,
    options: TrainOptions,
    dataset: Path = typer.Argument(help="A dataset made by 'tomostain prepare'."),
    run: Path = typer.Argument(help="Folder for the run."),
    overwrite: bool = OVERWRITE,
    dry_run: bool = DRY_RUN,
) -> None:
    """Train a model on the pairs of a dataset.

    RUN holds the resolved recipe, metrics.csv, TensorBoard events, sample images, the checkpoints `last` and
    `best-<loss term>`, and at the end RUN/model, a self-contained folder. After Ctrl-C, continue with --resume.

    For several GPUs or machines, start it with torchrun or srun, one process per GPU. The processes share the batch of
    the recipe, and the losses are those of one process. All processes need the same folders RUN and DATASET.
    """
    from tomostain.interrupts import listen_for_interrupt
    from tomostain.memory import keep_freed_memory
    from tomostain.train import InitialModel, choose_recipe, plan_training, train_model
    from tomostain.train.distributed import is_rank_zero

    use_threads(context)
    keep_freed_memory()
    initial = None if options.init is None else InitialModel.open(options.init)
    choice = choose_recipe(
        options.recipe, device=options.device, initial=initial, resumed=run if options.resume else None
    )
    keywords: dict[str, Any] = {
        "recipe": choice.recipe,
        "init": initial,
        "fold": None if options.fold < 0 else options.fold,
        "seed": options.seed,
        "device": options.device,
    }
    if dry_run:
        plan = plan_training(dataset, **keywords | {"recipe": options.recipe}, max_steps=options.max_steps)
        for line in plan if is_rank_zero() else []:
            typer.echo(line)
        return
    if is_rank_zero() and options.recipe is None:
        typer.echo(f"recipe: {choice}; 'tomostain recipes' lists others")
    if is_rank_zero() and initial is not None:
        typer.echo(f"init:   {initial}")
    context.obj["quiet"] |= not is_rank_zero()
    with bars(context) as progress, listen_for_interrupt() as stop_requested:
        train_model(
            dataset,
            run,
            **keywords,
            resume=options.resume,
            overwrite=overwrite,
            max_steps=options.max_steps,
            max_seconds=options.max_seconds,
            progress=progress,
            should_stop=stop_requested.is_set,
        )
    if not is_rank_zero():
        return
    typer.echo(f"run:   {run}")
    typer.echo(f"model: {run / 'model'}")
    typer.echo(f"next:  tomostain evaluate {run} {dataset} evaluation")
    typer.echo(f"       tomostain stain {run / 'model'} VOLUME stained.ome.zarr")
