"""A phantom of any size, from its seed to a stained volume and its exports, with the cost of each step.

    python -m studies.volumes.endtoend OUT [--side 600] [--train-steps 2000] [--model FOLDER]

Each step is a `tomostain` command in its own process. OUT/steps.jsonl records the command, its wall-clock and processor
seconds, peak resident memory and the size of its output; a table is printed. Finished steps are skipped. Without
--model, a small model with exact tiles is trained on six thin phantoms of other seeds. The field of view is 6 mm, the
whole screw, for every --side.
"""

import argparse
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from studies.volumes.common import where_and_when

RECIPE = "tomostain-cpu"
TRAINING = (("Mg-10Gd", 8), ("Mg-5Gd", 12), ("Mg-10Gd", 4), ("Mg-5Gd", 8), ("Mg-10Gd", 12), ("Mg-5Gd", 4))
FIRST_SEED, SEED = 8100, 8200
HELD_OUT = "held-out"
FIELD_UM = 6000.0
TRAINING_STEPS = (*(f"grow t{number}" for number in range(len(TRAINING))), "prepare", "train")
# The peak is not ru_maxrss, which a child inherits from its parent.
CODE = """
import json, resource, sys
from tomostain.cli.main import run
code = run(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_SELF)
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print("\\nTOLD", json.dumps({"peak_mb": int(peak) / 1000, "cpu_s": used.ru_utime + used.ru_stime}))
sys.exit(code)
"""


class Steps:
    """The commands that were run, in `OUT/steps.jsonl`."""

    def __init__(self, out: Path) -> None:
        self.path = out / "steps.jsonl"
        self.records: list[dict[str, Any]] = []
        if self.path.is_file():
            self.records = [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines()]

    def run(self, name: str, words: Sequence[object], result: Path | None = None) -> None:
        """Run a tomostain command unless its output `result` exists."""
        if any(record["step"] == name for record in self.records):
            return
        command = [str(word) for word in words]
        print(f"$ tomostain {shlex.join(command)}", flush=True)
        began = time.perf_counter()
        process = subprocess.run([sys.executable, "-c", CODE, *command], stdout=subprocess.PIPE, text=True, check=False)
        seconds = time.perf_counter() - began
        if process.returncode:
            sys.exit(f"{process.stdout}\nthe command failed with {process.returncode}")
        printed, _, numbers = process.stdout.rpartition("\nTOLD")
        record = {"step": name, "command": shlex.join(command), "wall_s": seconds, **json.loads(numbers)}
        record |= {"bytes": size_of(result) if result else 0, "said": printed.strip(), "where": where_and_when()}
        self.records.append(record)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        print(f"  {seconds:.0f} s, {record['peak_mb']:.0f} MB\n{printed.strip()}", flush=True)

    def table(self, voxels: int) -> str:
        """Return a line per step, with seconds per million voxels and bytes per voxel of the volume."""
        lines = ["| step | seconds | processor s | s/Mvoxel | peak memory / MB | on disk / MB | bytes/voxel |"]
        lines.append("|---" * 7 + "|")
        for record in self.records:
            per_voxel = [f"{1e6 * record['wall_s'] / voxels:.2f}", f"{record['bytes'] / voxels:.2f}"]
            if record["step"] in TRAINING_STEPS:
                per_voxel = ["", ""]
            columns = [record["step"], f"{record['wall_s']:.0f}", f"{record['cpu_s']:.0f}", per_voxel[0]]
            columns += [f"{record['peak_mb']:.0f}", f"{record['bytes'] / 1e6:.0f}", per_voxel[1]]
            lines.append(f"| {' | '.join(columns)} |")
        return "\n".join(lines)


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    return sum(p.stat().st_size for p in (path.rglob("*") if path.is_dir() else [path]) if p.is_file())


def phantom_config(path: Path, shape: Sequence[int], voxel_um: float) -> Path:
    """Write the configuration of a phantom whose screw lies along y, so that a slice shows it lengthwise."""
    path.write_text(yaml.safe_dump({"shape": list(shape), "voxel_um": voxel_um, "orientation": "lying"}))
    return path


def trained_model(out: Path, steps: Steps, voxel_um: float, train_steps: int) -> Path:
    """Grow thin phantoms, prepare a dataset and train on it."""
    across = round(4500.0 / voxel_um)  # large enough for the screw and the surrounding bone
    shape = (48, across, across)
    config = phantom_config(out / "training.yaml", shape, voxel_um)
    rows = ["specimen,volume,slide,section,implant,weeks,stain"]
    for number, (material, weeks) in enumerate(TRAINING):
        name = f"t{number}"
        options = ["--seed", FIRST_SEED + number, "--material", material, "--weeks", weeks, "--pixel-um", voxel_um]
        folder = out / "specimens" / name
        steps.run(f"grow {name}", ["phantom", folder, "--config", config, *options], folder)
        rows.append(
            f"{name},{name}/volume,{name}/slide.ome.tif,{name}/truth/section.yaml,{material},{weeks},toluidine-blue"
        )
    table = out / "specimens" / "specimens.csv"
    table.write_text("\n".join(rows) + "\n", encoding="utf-8")
    steps.run("prepare", ["prepare", table, out / "dataset"], out / "dataset")
    training = ["--recipe", RECIPE, "--fold", -1, "--max-steps", train_steps]
    steps.run("train", ["train", out / "dataset", out / "run", *training], out / "run" / "model")
    return out / "run" / "model"


def use(out: Path, steps: Steps, model: Path, side: int, voxel_um: float) -> None:
    """Grow the large phantom, stain it, and run the usual commands on the stained volume."""
    specimen, stained = out / "specimens" / HELD_OUT, out / "stained.ome.zarr"
    config = phantom_config(out / "phantom.yaml", (side, side, side), voxel_um)
    steps.run("phantom", ["phantom", specimen, "--config", config, "--seed", SEED], specimen)
    steps.run("check the µCT", ["check", specimen / "volume"])
    staining = ["stain", model, specimen / "volume", stained, "--blend", "exact"]
    steps.run("stain --dry-run", [*staining, "--dry-run"])
    steps.run("stain", staining, stained)
    steps.run("check", ["check", stained])
    steps.run("view", ["view", stained, "--out", out / "view"], out / "view")
    middle = (side - 1) * voxel_um / 2
    plane = ["--through", f"{middle},{middle},{middle}", "--normal", "1,0.5,0.3", "--thickness-um", 40]
    section = out / "oblique.ome.tif"
    steps.run("section", ["section", stained, section, *plane, "--ct", specimen / "volume"], section)
    coarse = max(0, (max(1, side // 100)).bit_length() - 1)
    for to, result, level in (
        ("rgba-tiff", "slices", 0),
        ("ome-zarr-0.4", "older.ome.zarr", 0),
        ("nrrd", "stained.nrrd", min(1, coarse)),
        ("mp4", "talk.mp4", coarse),
    ):
        words = ["export", stained, out / result, "--to", to, "--level", level]
        steps.run(f"export {to}, level {level}", words, out / result)


def against_truth(out: Path) -> str:
    """Return the metrics of some slices against the ideal stain of the phantom, with baselines."""
    from tomostain.demo import DemoConfig, compare_slices, evaluate_against_truth

    slices = compare_slices(out, DemoConfig(truth_slices=5))
    return evaluate_against_truth(slices, out / "dataset", None).to_text()


def main() -> None:
    """Run the missing steps and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--side", type=int, default=600)
    parser.add_argument("--train-steps", type=int, default=2000)
    parser.add_argument("--model", type=Path)
    options = parser.parse_args()
    (options.out / "specimens").mkdir(parents=True, exist_ok=True)
    steps, voxel_um = Steps(options.out), FIELD_UM / options.side
    model = options.model or trained_model(options.out, steps, voxel_um, options.train_steps)
    use(options.out, steps, model, options.side, voxel_um)
    print(f"\n{where_and_when()}\n\n{steps.table(options.side**3)}\n")
    if options.model is None:
        print(against_truth(options.out))


if __name__ == "__main__":
    main()
