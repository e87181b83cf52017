"""Register every slide of a folder of phantoms, and measure the error against the truth.

Resumable: existing results are not computed again. Errors come from the phantom's truth, never from the score.
"""

import argparse
import json
import random
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray


def truth_points(truth: dict[str, Any], slide_um: NDArray[np.float64], factor: float) -> NDArray[np.float64]:
    """Return the true positions in the volume (N, 3), µm, of slide points in µm of the stated pixel size."""
    from tomostain.geometry.section import Section

    section = Section.from_dict(truth)
    return np.asarray(section.to_volume_um(section.slide_to_section_um(slide_um * factor)))


def errors(section: Any, truth: dict[str, Any], template: Any, voxel_um: float, factor: float) -> dict[str, float]:
    """Compare a section with the truth over the tissue: plane error, angle, target registration error."""
    from tomostain.geometry.section import Section

    u = template.picture(100.0).u_um.numpy() + template.middle_um
    true_points = truth_points(truth, u, factor)
    points = section.to_volume_um(section.slide_to_section_um(u))
    real = Section.from_dict(truth)
    target = np.linalg.norm(points - true_points, axis=1) / voxel_um
    plane = np.abs((points - true_points) @ real.normal) / voxel_um
    angle = np.degrees(np.arccos(min(1.0, abs(float(real.normal @ section.normal)))))
    return {
        "plane_voxel": float(plane.mean()),
        "angle_deg": float(angle),
        "target_voxel": float(np.median(target)),
        "target95_voxel": float(np.percentile(target, 95)),
    }


def register_one(
    volume_folder: Path, slide_path: Path, truth_path: Path | None, result: Path, seed: int, threads: int = 1
) -> None:
    """Register one slide and write `result` as JSON; an error is also a result."""
    import torch

    from tomostain.errors import InputError
    from tomostain.io import open_slide, open_volume
    from tomostain.register.config import RegisterConfig
    from tomostain.register.locate import locate_section

    torch.set_num_threads(threads)
    start, cpu = time.perf_counter(), time.process_time()
    record: dict[str, Any] = {"volume": volume_folder.parent.name, "slide": slide_path.name}
    try:
        volume, slide = open_volume(volume_folder), open_slide(slide_path)
        location = locate_section(volume, slide, RegisterConfig(seed=seed))
        record |= location.evidence.to_dict() | {"hypothesis": location.hypothesis}
        if truth_path is not None:
            truth = yaml.safe_load(truth_path.read_text(encoding="utf-8"))
            voxel_um = volume.voxel_um[0]
            factor = truth["pixel_um"] / slide.pixel_um
            record |= errors(location.section, truth, location.template, voxel_um, factor) | {"voxel_um": voxel_um}
            record |= {
                f"next{i}": errors(s, truth, location.template, voxel_um, factor)["target_voxel"]
                for i, s in enumerate(location.candidates[1:], 1)
            }
    except InputError as error:
        record |= {"error": str(error), "confidence": 0.0, "sure": False}
    record |= {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }
    result.write_text(json.dumps(record, indent=1), encoding="utf-8")


def main() -> None:
    """Register all slides of a folder of specimens, or mismatched ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("specimens", type=Path, help="Folder written by specimens.py.")
    parser.add_argument("out", type=Path, help="Folder for the results, one JSON file per slide.")
    parser.add_argument(
        "--mismatched", type=int, default=0, help="Number of pairs of a volume and the slide of another specimen."
    )
    parser.add_argument("--only", default="", help="Only specimens whose name begins with this text.")
    parser.add_argument("--stain", default="", help="Only slides of this stain (toluidine-blue or he).")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="Threads of each registration.")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    folders = sorted(p for p in options.specimens.iterdir() if (p / "volume").is_dir())
    folders = [p for p in folders if p.name.startswith(options.only)]
    jobs = []
    for i, folder in enumerate(folders[: options.mismatched or None]):
        # Use the slide of another specimen with the next material. The screws may look similar or different.
        other = folders[(i + 1 + i % 7) % len(folders)] if options.mismatched else folder
        for slide in sorted(other.glob("*.ome.tif")):
            name = slide.name.replace(".ome.tif", "")
            if options.mismatched and name != ("toluidine-blue", "he")[i % 2]:
                continue
            if options.stain and name != options.stain:
                continue
            truth = None if options.mismatched else folder / f"{name}.yaml"
            result = options.out / f"{folder.name}-{other.name}-{name}.json"
            if not result.exists():
                jobs.append((folder / "volume", slide, truth, result, options.seed, options.threads))
    # Random order, so that partial results are a representative sample.
    random.Random(options.seed).shuffle(jobs)
    with ProcessPoolExecutor(options.jobs) as pool:
        submitted = [pool.submit(register_one, *job) for job in jobs]
        for job, job_result in zip(jobs, submitted, strict=True):
            job_result.result()
            record = json.loads(job[3].read_text(encoding="utf-8"))
            keys = (
                "plane_voxel",
                "target_voxel",
                "target95_voxel",
                "confidence",
                "detail",
                "margin",
                "restarts",
                "seconds",
            )
            shown = " ".join(f"{key.split('_')[0]} {record[key]:.2f}" for key in keys if key in record)
            print(f"{job[3].stem}: {shown} {record.get('error', '')}", flush=True)


if __name__ == "__main__":
    main()
