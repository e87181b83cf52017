"""The verb `train`: train a model on a dataset."""

from pathlib import Path
from typing import Any

import typer

from tomostain.cli.common import DEVICE, DRY_RUN, OVERWRITE, SEED, bars, use_threads
from tomostain.cli.verbs import verb


@verb(
    order=50,
    examples="""
    tomostain train dataset run
    tomostain train dataset run --recipe paired-cyclegan --device cuda
    tomostain train dataset run --resume
    tomostain train dataset run-mine --recipe my-recipe.yaml --fold 2
    torchrun --nproc-per-node 4 -m tomostain train dataset run
    srun --ntasks-per-node 4 tomostain train dataset run
""",
)
def train(
    context: typer.Context,
    dataset: Path = typer.Argument(help="A dataset made by 'tomostain prepare'."),
    run: Path = typer.Argument(help="Folder for the run."),
    recipe: str = typer.Option("paired-cyclegan-cpu", help="A name that 'tomostain recipes' lists, or a YAML file."),
    fold: int = typer.Option(0, help="Which fold validates; -1: train on all of them."),
    seed: int = SEED,
    device: str = DEVICE,
    resume: bool = typer.Option(False, "--resume", help="Go on where RUN stopped, to the same bits."),
    max_steps: int | None = typer.Option(None, min=1, help="Stop after so many steps (the recipe's epochs otherwise)."),
    max_seconds: float | None = typer.Option(None, min=1, help="Stop after so much training time."),
    overwrite: bool = OVERWRITE,
    dry_run: bool = DRY_RUN,
) -> None:
    """Learn the translation from the pairs of a dataset.

    RUN holds the resolved recipe, metrics.csv, TensorBoard events, sample pictures, the checkpoints `last` and
    `best-<loss term>`, and at the end RUN/model, a folder one can hand over. Ctrl-C ends cleanly; go on with --resume.

    For several GPUs or machines start it by torchrun or srun, one process a GPU: each takes its part of the recipe's
    batch, and the losses are those of one process. RUN and DATASET must be the same folders everywhere.
    """
    from tomostain.memory import keep_freed_memory
    from tomostain.train import plan_training
    from tomostain.train import train as run_training
    from tomostain.train.distributed import leads

    use_threads(context)
    keep_freed_memory()
    options: dict[str, Any] = {"recipe": recipe, "fold": None if fold < 0 else fold, "seed": seed, "device": device}
    if dry_run:
        plan = plan_training(dataset, **options, max_steps=max_steps)
        for line in plan if leads() else []:
            typer.echo(line)
        return
    context.obj["quiet"] |= not leads()
    with bars(context) as progress:
        run_training(
            dataset,
            run,
            **options,
            resume=resume,
            overwrite=overwrite,
            max_steps=max_steps,
            max_seconds=max_seconds,
            progress=progress,
        )
    if not leads():
        return
    typer.echo(f"run:   {run}")
    typer.echo(f"model: {run / 'model'}")
    typer.echo(f"next:  tomostain evaluate {run} {dataset} evaluation")
    typer.echo(f"       tomostain stain {run / 'model'} VOLUME stained.ome.zarr")
