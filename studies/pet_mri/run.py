"""MRI to pseudo-colour PET: a real grey-to-colour translation, trained on two subjects and tested on a third.

    python -m studies.pet_mri.run PET_MRI OUT [--recipe paired-cyclegan-cpu] [--max-seconds 3600]

Run the same command again after an interruption: it continues where it stopped. See README.md in this folder.
"""

import argparse
import resource
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from tomostain.cli.progress import Bars
from tomostain.errors import InputError, InterruptedRunError
from tomostain.evaluate import evaluate
from tomostain.io.atomic import write_text
from tomostain.prepare import AlignedConfig, prepare_aligned
from tomostain.train import train

LABEL = "Images: MRI and pseudo-colour PET of the brain. This is not histology; it shows the software on real pairs."
# A subject is named by the file name without its last three digits; `41` is the last of the three.
CONFIG = {
    "voxel_um": 1000.0,  # nominal: the files do not state a pixel size, and all have one grid
    "normalise": "range",
    "mask": "none",
    "subject_regex": r"(.+)\d{3}$",
    "test_subjects": ("41",),
    "stain": "pseudo-colour PET",
}


def main() -> int:
    """Prepare, train, evaluate; return the exit code."""
    arguments = parse()
    try:
        with Bars() as progress:
            run(arguments, progress)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (InterruptedRunError, KeyboardInterrupt) as error:
        print(f"interrupted: {error or 'run the same command again to continue'}", file=sys.stderr)
        return 130
    return 0


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, metavar="PET_MRI", help="folder with mri/ and pet/")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for the dataset, the run and the results")
    parser.add_argument("--recipe", default="paired-cyclegan-cpu", help="a recipe's name or YAML file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--max-steps", type=int, help="maximum number of training steps")
    parser.add_argument("--max-seconds", type=float, help="maximum training time, s")
    parser.add_argument("--stride-px", type=int, default=64, help="step of the overlapping patches when staining")
    return parser.parse_args()


def run(arguments: argparse.Namespace, progress: Bars) -> None:
    """Run the missing steps, then evaluate."""
    out: Path = arguments.out
    name = Path(arguments.recipe).stem
    dataset, run_folder = out / "dataset", out / name
    seconds: dict[str, float] = {}

    started = time.monotonic()
    if not (dataset / "dataset.yaml").is_file():
        config = AlignedConfig.from_dict(CONFIG, "pet_mri")
        prepare_aligned(arguments.source / "mri", arguments.source / "pet", dataset, config, progress=progress)
    seconds["prepare"] = time.monotonic() - started

    started = time.monotonic()
    is_resumed = (run_folder / "last").is_file()  # without a checkpoint the training starts again
    train(
        dataset,
        run_folder,
        recipe=arguments.recipe,
        fold=None,
        seed=arguments.seed,
        device=arguments.device,
        resume=is_resumed,
        overwrite=not is_resumed,
        max_steps=arguments.max_steps,
        max_seconds=arguments.max_seconds,
        progress=progress,
    )
    seconds["train"] = time.monotonic() - started

    started = time.monotonic()
    results = out / f"evaluation-{name}"
    table = evaluate(
        run_folder,
        dataset,
        results,
        device=arguments.device,
        overwrite=True,
        notes=(LABEL,),
        stain={"stride_px": arguments.stride_px},
        progress=progress,
    )
    seconds["evaluate"] = time.monotonic() - started
    write_text(results / "cost.yaml", yaml.safe_dump(cost(seconds), sort_keys=False))
    print(table.to_text())
    print(f"results: {results}")


def cost(seconds: dict[str, float]) -> dict[str, Any]:
    """Return time and memory of this call; after an interruption it does not include earlier calls."""
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {"seconds": {key: round(value, 1) for key, value in seconds.items()}, "peak_memory_gb": round(peak_gb, 2)}


if __name__ == "__main__":
    sys.exit(main())
