"""The verb `train`: train a model on a dataset."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tomostain.cli.common import DEVICE, DRY_RUN, OVERWRITE, SEED, bars, use_threads
from tomostain.cli.completion import model_names, recipes
from tomostain.cli.options import option_group
from tomostain.cli.verbs import verb

if TYPE_CHECKING:
    from tomostain.train.begin import TrainKeywords
    from tomostain.train.default_recipe import RecipeChoice


@option_group
class TrainOptions:
    """How the model is trained."""

    recipe: str | None = typer.Option(
        None,
        help="A name that 'tomostain recipes' lists, or a YAML file (default: that of --init, or the device's).",
        autocompletion=recipes,
    )
    init: str | None = typer.Option(
        None,
        metavar="MODEL",
        help="Begin with the weights of a model: a model folder, a run or builtin:NAME (see 'tomostain models').",
        autocompletion=model_names,
    )
    fold: int = typer.Option(0, help="Fold for validation; -1: train on all folds.")
    seed: int = SEED
    device: str = DEVICE
    resume: bool = typer.Option(
        False, "--resume", help="Continue RUN where it stopped, with its recipe, fold and seed; gives the same bits."
    )
    deterministic: bool = typer.Option(
        False, "--deterministic", help="Same bits on a GPU, too; slower. A CPU always gives the same bits."
    )
    max_steps: int | None = typer.Option(
        None, min=1, help="Stop at this number of steps in total, also of a resumed run."
    )
    max_seconds: float | None = typer.Option(
        None, min=1, help="Stop after this training time in total, also of a resumed run, seconds."
    )
    max_cpu_seconds: float | None = typer.Option(
        None, min=1, help="Stop after this processor time of all threads in total, seconds."
    )


@verb(
    order=50,
    examples="""
    tomostain train dataset run
    tomostain train dataset run --recipe paired-cyclegan --device cuda
    tomostain train dataset run --init builtin:phantom-tb
    tomostain train dataset run --resume
    tomostain train dataset run --max-seconds 3600
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
    `best-<loss term>`, and at the end RUN/model, a self-contained folder. The training ends at the first limit that is
    given, or else after the epochs of the recipe. After Ctrl-C or a crash, continue with --resume; where nothing was
    saved yet, the run begins again.

    For several GPUs or machines, start it with torchrun or srun, one process per GPU. The processes share the batch of
    the recipe, and the losses are those of one process. All processes need the same folders RUN and DATASET.
    """
    from tomostain.interrupts import listen_for_interrupt
    from tomostain.memory import keep_freed_memory
    from tomostain.train import plan_training, train_model
    from tomostain.train.launcher import is_rank_zero

    use_threads(context)
    keep_freed_memory()
    # Read when cuBLAS is initialised; without it, torch warns that products of matrices have no fixed order.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    choice, keywords = _request(context, options, run, overwrite=overwrite)
    if dry_run:
        plan = plan_training(dataset, run=run, **keywords | {"recipe": options.recipe})
        for line in plan if is_rank_zero() else []:
            typer.echo(line)
        return
    if is_rank_zero():
        _show_request(options, choice, keywords)
    context.obj["quiet"] |= not is_rank_zero()
    with bars(context) as progress, listen_for_interrupt() as stop_requested:
        train_model(dataset, run, **keywords, progress=progress, should_stop=stop_requested.is_set)
    if is_rank_zero():
        _show_results(dataset, run, keywords["fold"])


def _request(
    context: typer.Context, options: TrainOptions, run: Path, *, overwrite: bool
) -> "tuple[RecipeChoice, TrainKeywords]":
    """Return the recipe with the reason for it, and the keywords of `tomostain.train.train_model`."""
    from tomostain.train import InitialModel, choose_recipe
    from tomostain.train.run_folder import recorded_options

    recorded = recorded_options(run) if options.resume else {}
    stated = context.get_parameter_source("fold"), context.get_parameter_source("seed")
    fold = None if options.fold < 0 else options.fold
    initial = None if options.init is None else InitialModel.open(options.init)
    choice = choose_recipe(
        options.recipe, device=options.device, initial=initial, resumed=run if options.resume else None
    )
    keywords: TrainKeywords = {
        "recipe": choice.recipe,
        "init": initial,
        "fold": recorded.get("fold", fold) if _is_default(stated[0]) else fold,
        "seed": recorded.get("seed", options.seed) if _is_default(stated[1]) else options.seed,
        "device": options.device,
        "resume": options.resume,
        "overwrite": overwrite,
        "deterministic": options.deterministic,
        "max_steps": options.max_steps,
        "max_seconds": options.max_seconds,
        "max_cpu_seconds": options.max_cpu_seconds,
    }
    return choice, keywords


def _show_request(options: TrainOptions, choice: "RecipeChoice", keywords: "TrainKeywords") -> None:
    """Print recipe, initial model and device."""
    from tomostain.train.default_recipe import describe_device
    from tomostain.train.launcher import is_distributed

    if options.recipe is None:
        typer.echo(f"recipe: {choice}; 'tomostain recipes' lists others")
    if keywords["init"] is not None:
        typer.echo(f"init:   {keywords['init']}")
    typer.echo(f"device: {describe_device(choice.recipe, options.device, alone=not is_distributed())}")


def _show_results(dataset: Path, run: Path, fold: int | None) -> None:
    """Print where the results are, and the next commands."""
    from tomostain.dataset.dataset import load_dataset

    pairs = load_dataset(dataset).split(fold)
    typer.echo(f"run:   {run}")
    typer.echo(f"model: {run / 'model'}")
    commands = [f"tomostain stain {run / 'model'} VOLUME stained.ome.zarr"]
    if pairs.test or pairs.validation:
        split = "" if pairs.test else " --split validation"
        commands.insert(0, f"tomostain evaluate {run} {dataset} evaluation{split}")
    else:
        typer.echo("note:  the dataset has no pairs for testing or validation; this model cannot be evaluated with it")
    typer.echo("next:  " + "\n       ".join(commands))


def _is_default(source: Any) -> bool:
    """Return whether the source of an option says that it was not given."""
    return source is not None and source.name == "DEFAULT"
