"""One volume by an array of SLURM jobs, one of them requeued. Skipped where SLURM is not available."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.stain.test_stain_trouble import CONFIG, LEVELS, OPTIONS, contents, model, volume  # noqa: F401
from tomostain.stain import stain_volume

SCRIPT = """#!/bin/bash
#SBATCH --array=1-2
#SBATCH --time=00:05:00
#SBATCH --requeue
#SBATCH --open-mode=append
export PYTHONPATH='{source}' OMP_NUM_THREADS=1
srun '{python}' -c 'import sys; from tomostain.cli.main import main; main(sys.argv[1:])' \\
    stain '{model}' '{volume}' '{out}' --config '{config}' \\
    --background {low} --bone {high} --part "$SLURM_ARRAY_TASK_ID/2"
status=$?
[ "$status" -eq 130 ] && scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID"
exit "$status"
"""


def ask(*words):
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def slurm():
    if not shutil.which("sbatch"):
        pytest.skip("no sbatch here")
    answer = ask("sinfo", "--noheader", "--states=idle,mixed", "--format=%n")
    if answer.returncode or not answer.stdout.strip():
        pytest.skip(f"no SLURM node is free: {answer.stderr.strip()[:200]}")


def test_an_array_with_a_requeued_job_gives_the_same_bits(slurm, model, volume, tmp_path):  # noqa: F811
    out, script, config = tmp_path / "out.ome.zarr", tmp_path / "stain.sh", tmp_path / "stain.yaml"
    config.write_text("{patch_px: 32, stride_px: 1, slab: 3}")
    source = os.pathsep.join(filter(None, [str(Path(__file__).parents[2] / "src"), os.environ.get("PYTHONPATH")]))
    places = {"python": sys.executable, "model": model, "volume": volume, "out": out, "config": config}
    script.write_text(SCRIPT.format(source=source, low=LEVELS.background, high=LEVELS.bone, **places))
    sent = ask("sbatch", "--parsable", f"--output={tmp_path}/%a.log", str(script))
    assert sent.returncode == 0, sent.stderr
    job, end = sent.stdout.strip().split(";")[0], time.monotonic() + 600
    try:
        while not list(out.glob(".tomostain-progress/*.done")) and time.monotonic() < end:
            time.sleep(0.1)
        assert ask("scontrol", "requeue", f"{job}_2").returncode == 0
        while ask("squeue", "--noheader", f"--jobs={job}").stdout.strip() and time.monotonic() < end:
            time.sleep(1)
    finally:
        ask("scancel", job)
    logs = "".join(path.read_text() for path in sorted(tmp_path.glob("*.log")))
    options = OPTIONS | {"config": CONFIG.model_copy(update={"stride_px": 1})}
    whole = stain_volume(model, volume, tmp_path / "whole" / "out.ome.zarr", **options)
    assert contents(out) == contents(whole), logs
