"""Effect of wider strides and half precision on the images, for trained networks on the same pairs.

    python -m studies.table1.half OUT --points resnet-12 unet-14 gated-16 --steps 8000 --to half.json

OUT holds the data sets of `studies.table1.data` and the networks of `studies.table1.pareto train`. The test
pairs of fold 0, *aligned*. float16 is computed on the CPU, which is slow, to see its effect on the images.
"""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.measure import about
from studies.table1.editions import EDITIONS
from studies.table1.report import METRICS
from tomostain.dataset.dataset import Dataset, load_dataset
from tomostain.evaluate.intervals import median_interval, paired_difference
from tomostain.evaluate.metrics.lpips import Lpips
from tomostain.evaluate.metrics.patch import background_colour, patch_metrics
from tomostain.io.atomic import write_text
from tomostain.networks.build import build_network
from tomostain.networks.kernels import put_channels_last
from tomostain.stain import StainConfig, Translator, load_translator, stain_slice

EDITION = EDITIONS["cpu"]
HALF = ("bfloat16", "float16")


def ways(model: Path) -> dict[str, tuple[Translator, StainConfig]]:
    """Return the ways in which a model can stain. The first is float32 with exact or overlapping tiles."""
    plain = load_translator(model, "cpu")
    halves = {precision: halved(plain, precision) for precision in HALF}
    if plain.tile_invariant:
        exact = StainConfig(blend="exact")
        return {"float32, exact tiles": (plain, exact)} | {
            f"{precision}, exact tiles": (half, exact) for precision, half in halves.items()
        }
    quarter = StainConfig(stride_px=EDITION.patch_px // 4, blend="mean")
    wider = StainConfig(stride_px=EDITION.patch_px // 2, blend="hann")
    # Statistics of the slice instead of each tile: the same weights without overlap.
    whole = StainConfig(statistics="volume", blend="exact")
    configs = {"a quarter patch apart": quarter, "half a patch apart, Hann": wider, "statistics volume": whole}
    models = {"float32": plain} | halves
    return {f"{model}, {way}": (models[model], config) for model in models for way, config in configs.items()}


def halved(translator: Translator, precision: str) -> Translator:
    """Return a translator in half precision, even if it is slow on this CPU."""
    network = build_network(translator.spec.generator).eval().requires_grad_(False)
    network.load_state_dict(translator.network.state_dict())
    return dataclasses.replace(translator, network=put_channels_last(network.to(getattr(torch, precision))))


def measure(model: Path, data: Dataset, ids: tuple[str, ...], lpips: Lpips) -> list[dict[str, Any]]:
    """Return, for each way, the metrics of all patches and the difference from float32 in grey levels."""
    rows: list[dict[str, Any]] = []
    images: dict[str, list[NDArray[np.float32]]] = {}
    for name, (translator, config) in ways(model).items():
        records, images[name] = [], []
        for pair_id in ids:
            pair = data.load(pair_id)
            stained = stain_slice(translator, pair.ct, config)
            images[name].append(stained.astype(np.float32))
            colour, sizes = background_colour(pair.histology, pair.mask), (EDITION.patch_px, EDITION.stride_px)
            for patch in patch_metrics(stained, pair.histology, pair.mask, *sizes, lpips, colour=colour):
                records.append({"pair": pair_id} | {metric: float(patch[metric]) for metric in METRICS})
        reference = images["float32" + name[name.index(",") :]]
        deviation = np.concatenate([np.abs(a - b).ravel() for a, b in zip(images[name], reference, strict=True)])
        rows.append(
            {
                "way": name,
                "away": {
                    "mean": float(deviation.mean()),
                    "p99.9": float(np.quantile(deviation, 0.999)),
                    "largest": float(deviation.max()),
                },
                "patches": {key: [record[key] for record in records] for key in ("pair", *METRICS)},
            }
        )
    return rows


def table(point: str, rows: list[dict[str, Any]]) -> str:
    """Return the ways of a network in Markdown: metrics, paired differences from the first way, and from float32."""
    head = [f"`{point}`", *(m.upper() for m in METRICS), *(f"Δ {m.upper()}" for m in METRICS)]
    lines = ["| " + " | ".join([*head, "difference in grey levels: mean, 99.9 %, maximum"]) + " |", "|---" * 8 + "|"]
    first = rows[0]["patches"]
    for row in rows:
        patches, pairs = row["patches"], row["patches"]["pair"]
        cells = [row["way"], *(f"{median_interval(patches[m], pairs).median:.4g}" for m in METRICS)]
        for metric in METRICS:
            cells.append("" if row is rows[0] else str(paired_difference(patches[metric], first[metric], pairs)))
        deviation = row["away"]
        is_half = not row["way"].startswith("float32")
        cells.append(
            f"{deviation['mean']:.2f}, {deviation['p99.9']:.0f}, {deviation['largest']:.0f}" if is_half else ""
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure, store and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--points", nargs="+", default=["resnet-12", "unet-14", "gated-16"])
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--to", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data, lpips = load_dataset(options.out / "aligned"), Lpips("alex")
    results: dict[str, Any] = {"made": about(), "steps": options.steps, "points": {}}
    for point in options.points:
        model = options.out / "pareto" / point / f"step-{options.steps}"
        results["points"][point] = rows = measure(model, data, data.split(0).test, lpips)
        print(table(point, rows) + "\n", flush=True)
        write_text(options.to, json.dumps(results))


if __name__ == "__main__":
    main()
