"""Hostile folders that tomostain itself wrote once: stained volumes, datasets, runs."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from studies.trust.hostile.case import VOXEL_UM, Case, Command, Expectation, Rng
from studies.trust.hostile.documents import yaml_cases
from studies.trust.hostile.models import evil_pickle
from studies.trust.hostile.operators import OPERATORS
from studies.trust.hostile.volumes import Counter

COUNT = Counter()


def copy(folder: Path, name: str) -> Path:
    """Copy a folder of the good inputs."""
    shutil.copytree(folder.parents[1] / "world" / name, folder / name)
    return folder / name


# --- stained volumes
STAINED = "stained.ome.zarr"
RESTAIN: Command = (
    "stain",
    "WORLD/model",
    "WORLD/volume.tif",
    STAINED,
    "--voxel-um",
    str(VOXEL_UM),
    "--background",
    "10000",
    "--bone",
    "30000",
)


def stained_commands(number: int) -> tuple[Command, ...]:
    others: tuple[Command, ...] = (
        ("view", STAINED, "--out", "out-view"),
        ("export", STAINED, "out-slices", "--to", "rgba-tiff"),
        ("export", STAINED, "out.nrrd", "--to", "nrrd"),
        ("export", STAINED, "out04.ome.zarr", "--to", "ome-zarr-0.4"),
        ("section", STAINED, "out.ome.tif", "--axis", "z", "--through", "40,0,0"),
    )
    return (("check", STAINED), others[number % len(others)], others[(number + 1) % len(others)])


def stained_case(operator: str, change: Callable[[Path, Rng], None], expect: Expectation) -> Case:
    def make(folder: Path, rng: Rng) -> None:
        change(copy(folder, STAINED), rng)

    return Case("stained volume", operator, make, stained_commands(COUNT()), expect)


def shard_of(path: Path) -> Path:
    """Return the first shard of level 0."""
    return next(
        file for file in sorted((path / "0").rglob("*")) if file.is_file() and "c" in file.relative_to(path).parts
    )


def stained() -> Iterator[Case]:
    """Stained volumes."""
    for operator, apply, _ in OPERATORS:

        def shard(path: Path, rng: Rng, apply: Callable[[Path, Rng], None] = apply) -> None:
            apply(shard_of(path), rng)

        yield stained_case(f"shard: {operator}", shard, "refuse")
        for site in ("zarr.json", "0/zarr.json", "0/SHA256SUMS"):

            def damage(path: Path, rng: Rng, apply: Callable[[Path, Rng], None] = apply, site: str = site) -> None:
                apply(path / site, rng)

            never: Expectation = (
                "any"
                if "flipped" in operator or "tenth" in operator or "appended" in operator or site.endswith("SUMS")
                else "refuse"
            )
            yield stained_case(f"{site}: {operator}", damage, never)

    def attributes(change: Callable[[dict[str, Any]], object]) -> Callable[[Path, Rng], None]:
        def apply(path: Path, rng: Rng) -> None:
            values = json.loads((path / "zarr.json").read_text())
            change(values["attributes"])
            (path / "zarr.json").write_text(json.dumps(values))

        return apply

    def own(**values: Any) -> Callable[[dict[str, Any]], object]:
        return lambda attributes_: attributes_["tomostain"].update(values)

    def image(**values: Any) -> Callable[[dict[str, Any]], object]:
        return lambda attributes_: attributes_["ome"]["multiscales"][0].update(values)

    changes: tuple[tuple[str, Callable[[dict[str, Any]], object], Expectation], ...] = (
        ("provenance null", own(provenance=None), "any"),
        ("provenance a list", own(provenance=[1]), "any"),
        ("provenance a text", own(provenance="abc"), "any"),
        ("provenance empty", own(provenance={}), "any"),
        ("options null", lambda a: a["tomostain"]["provenance"].update(options=None), "any"),
        ("model a text", lambda a: a["tomostain"]["provenance"].update(model="abc"), "any"),
        ("input a list", lambda a: a["tomostain"]["provenance"].update(input=[1, 2]), "any"),
        ("levels null", lambda a: a["tomostain"]["provenance"].update(levels=None), "any"),
        ("slab 0", own(slab=0), "refuse"),
        ("slab -1", own(slab=-1), "refuse"),
        ("slab 10^9", own(slab=10**9), "refuse"),
        ("slab a text", own(slab="abc"), "refuse"),
        ("shape of two", own(shape=[40, 48]), "refuse"),
        ("shape of texts", own(shape=["a", "b", "c"]), "refuse"),
        ("shape of 10^12", own(shape=[10**12] * 3), "refuse"),
        ("another shape", own(shape=[7, 40, 48]), "refuse"),
        ("voxel nan", own(voxel_um=[None] * 3), "any"),
        ("voxel 0", own(voxel_um=[0, 0, 0]), "any"),
        ("no tomostain", lambda a: a.pop("tomostain"), "any"),
        ("tomostain null", lambda a: a.update(tomostain=None), "any"),
        ("tomostain a list", lambda a: a.update(tomostain=[]), "any"),
        ("no ome", lambda a: a.pop("ome"), "refuse"),
        ("ome null", lambda a: a.update(ome=None), "refuse"),
        ("no multiscales", lambda a: a["ome"].pop("multiscales"), "refuse"),
        ("datasets empty", image(datasets=[]), "refuse"),
        (
            "a level that is not there",
            image(
                datasets=[
                    {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1, 20, 20, 20]}]},
                    {"path": "9", "coordinateTransformations": [{"type": "scale", "scale": [1, 40, 40, 40]}]},
                ]
            ),
            "refuse",
        ),
        (
            "path ..",
            image(
                datasets=[{"path": "..", "coordinateTransformations": [{"type": "scale", "scale": [1, 20, 20, 20]}]}]
            ),
            "refuse",
        ),
        (
            "path outside",
            image(
                datasets=[
                    {
                        "path": "../../outside/secret.zarr",
                        "coordinateTransformations": [{"type": "scale", "scale": [1, 20, 20, 20]}],
                    }
                ]
            ),
            "refuse",
        ),
        (
            "scale nan",
            image(
                datasets=[
                    {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1, float("nan"), 20, 20]}]}
                ]
            ),
            "refuse",
        ),
        (
            "scale 0",
            image(datasets=[{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1, 0, 20, 20]}]}]),
            "refuse",
        ),
        (
            "scale of two",
            image(datasets=[{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1, 20]}]}]),
            "refuse",
        ),
        ("no transformation", image(datasets=[{"path": "0"}]), "refuse"),
        ("axes of two", image(axes=[{"name": "y"}, {"name": "x"}]), "refuse"),
        ("name of HTML", image(name="<script>alert(1)</script>"), "any"),
        ("axes nested 2,000 deep", image(axes=json.loads("[" * 900 + "]" * 900)), "refuse"),
    )
    for operator, change, expect in changes:
        yield stained_case(operator, attributes(change), expect)

    def array(**values: Any) -> Callable[[Path, Rng], None]:
        def apply(path: Path, rng: Rng) -> None:
            old = json.loads((path / "0/zarr.json").read_text())
            (path / "0/zarr.json").write_text(json.dumps(old | values))

        return apply

    arrays: tuple[tuple[str, dict[str, Any]], ...] = (
        ("float32", {"data_type": "float32"}),
        ("shape of 10^9", {"shape": [3, 10**9, 40, 48]}),
        ("one channel", {"shape": [1, 6, 40, 48]}),
        ("rank 3", {"shape": [6, 40, 48]}),
        ("0 slices", {"shape": [3, 0, 40, 48]}),
        ("no codecs", {"codecs": []}),
        ("zero chunk", {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [3, 0, 40, 48]}}}),
        ("huge chunk", {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [3, 10**6, 10**6, 10**6]}}}),
    )
    for operator, values in arrays:
        yield stained_case(f"array: {operator}", array(**values), "refuse")
    sums: tuple[tuple[str, str], ...] = (
        ("lies", "0" * 64 + "  0.0.0.0\n"),
        ("points outside", "0" * 64 + "  ../../../outside/secret.txt\n"),
        ("not text", "\udcff"),
        ("10^5 lines", ("0" * 64 + "  c/0/0/0/0\n") * 10**5),
    )
    for operator, text in sums:

        def lie(path: Path, rng: Rng, text: str = text) -> None:
            (path / "0/SHA256SUMS").write_bytes(text.encode("utf-8", "surrogateescape"))

        yield stained_case(f"SHA256SUMS {operator}", lie, "any")
    # The same command heals a damaged shard.
    for operator, apply, _ in OPERATORS:
        if operator in ("a FIFO", "a folder", "a link to /dev/zero"):
            continue

        def make(folder: Path, rng: Rng, apply: Callable[[Path, Rng], None] = apply) -> None:
            apply(shard_of(copy(folder, STAINED)), rng)

        yield Case("stained volume", f"healed: shard {operator}", make, (RESTAIN, ("check", STAINED)), "any")


# --- datasets
def dataset_commands(number: int) -> tuple[Command, ...]:
    others: tuple[Command, ...] = (
        ("train", "dataset", "out-run", "--recipe", "WORLD/recipe.yaml", "--max-steps", "1"),
        (
            "evaluate",
            "WORLD/model",
            "dataset",
            "out-evaluation",
            "--split",
            "all",
            "--lpips",
            "none",
            "--patch-px",
            "16",
        ),
    )
    return (("check", "dataset"), others[number % 2])


def datasets() -> Iterator[Case]:
    """Datasets and their pairs."""
    for site in ("pairs/a/ct.tif", "pairs/a/histology.tif", "pairs/a/mask.tif"):
        for operator, apply, expect in OPERATORS:

            def damage(folder: Path, rng: Rng, apply: Callable[[Path, Rng], None] = apply, site: str = site) -> None:
                apply(copy(folder, "dataset") / site, rng)

            yield Case(
                "dataset",
                f"{site}: {operator}",
                damage,
                dataset_commands(COUNT()),
                "refuse" if expect == "refuse" else "any",
            )
    for site, key, some in (("dataset.yaml", "voxel_um", 1), ("pairs/a/pair.yaml", "voxel_um", 2)):

        def write(folder: Path, site: str = site) -> Path:
            return copy(folder, "dataset") / site

        yield from yaml_cases("dataset", site, write, key, (("check", "dataset"),), some)

    def values(site: str, array: Any, **options: Any) -> Callable[[Path, Rng], None]:
        def make(folder: Path, rng: Rng) -> None:
            import tifffile

            tifffile.imwrite(copy(folder, "dataset") / site, array, metadata=None, **options)

        return make

    arrays: tuple[tuple[str, str, Any, Expectation], ...] = (
        ("ct of another shape", "pairs/a/ct.tif", np.zeros((30, 42), np.uint16), "refuse"),
        ("ct of floats", "pairs/a/ct.tif", np.full((36, 42), np.nan, np.float32), "refuse"),
        ("ct of 8 bits", "pairs/a/ct.tif", np.zeros((36, 42), np.uint8), "refuse"),
        ("ct of two pages", "pairs/a/ct.tif", np.zeros((2, 36, 42), np.uint16), "refuse"),
        ("histology grey", "pairs/a/histology.tif", np.zeros((36, 42), np.uint8), "refuse"),
        ("histology of 16 bits", "pairs/a/histology.tif", np.zeros((36, 42, 3), np.uint16), "refuse"),
        ("histology of floats", "pairs/a/histology.tif", np.full((36, 42, 3), np.nan, np.float32), "refuse"),
        ("mask empty", "pairs/a/mask.tif", np.zeros((36, 42), np.uint8), "refuse"),
        ("mask of floats", "pairs/a/mask.tif", np.full((36, 42), np.nan, np.float32), "refuse"),
        ("mask of another shape", "pairs/a/mask.tif", np.ones((42, 36), np.uint8), "refuse"),
        ("exclude everything", "pairs/a/exclude.tif", np.ones((36, 42), np.uint8), "refuse"),
        ("exclude of another shape", "pairs/a/exclude.tif", np.ones((3, 4), np.uint8), "refuse"),
        ("slices of another shape", "pairs/a/ct-slices.tif", np.zeros((3, 5, 6), np.uint16), "any"),
    )
    for operator, site, array, expect in arrays:
        yield Case(
            "dataset",
            operator,
            values(site, array),
            (
                ("check", "dataset"),
                ("train", "dataset", "out-run", "--recipe", "WORLD/recipe.yaml", "--max-steps", "1"),
            ),
            expect,
        )

    def index(change: Callable[[dict[str, Any]], object]) -> Callable[[Path, Rng], None]:
        def make(folder: Path, rng: Rng) -> None:
            path = copy(folder, "dataset") / "dataset.yaml"
            content = yaml.safe_load(path.read_text())
            change(content)
            path.write_text(yaml.safe_dump(content))

        return make

    changes: tuple[tuple[str, Callable[[dict[str, Any]], object], Expectation], ...] = (
        ("id ../../../outside", lambda v: v["pairs"][0].update(id="../../../outside"), "refuse"),
        ("id of a folder outside", lambda v: v["pairs"][0].update(id="/tmp"), "refuse"),
        ("id a number", lambda v: v["pairs"][0].update(id=3), "refuse"),
        ("id twice", lambda v: v["pairs"].append(v["pairs"][0]), "refuse"),
        ("no id", lambda v: v["pairs"][0].pop("id"), "refuse"),
        ("pairs null", lambda v: v.update(pairs=None), "refuse"),
        ("pairs a mapping", lambda v: v.update(pairs={"a": 1}), "refuse"),
        ("pairs of 10^5", lambda v: v.update(pairs=[{"id": f"p{i}"} for i in range(10**5)]), "refuse"),
        ("folds that overlap", lambda v: v.update(folds=[["a"], ["a"]]), "refuse"),
        ("folds of unknown pairs", lambda v: v.update(folds=[["zzz"]]), "refuse"),
        ("folds a text", lambda v: v.update(folds="abc"), "refuse"),
        ("folds a number", lambda v: v.update(folds=3), "refuse"),
        ("everything in the test set", lambda v: v.update(test=list("abcd"), folds=[]), "any"),
        ("test in a fold", lambda v: v.update(test=["a"]), "refuse"),
        ("a subject split", lambda v: [v["pairs"][0].update(subject="x"), v["pairs"][2].update(subject="x")], "refuse"),
        ("voxel 0", lambda v: v.update(voxel_um=0), "refuse"),
        ("voxel -1", lambda v: v.update(voxel_um=-1), "refuse"),
        ("voxel nan", lambda v: v.update(voxel_um=float("nan")), "refuse"),
        ("voxel abc", lambda v: v.update(voxel_um="abc"), "refuse"),
        ("voxel another", lambda v: v.update(voxel_um=40.0), "refuse"),
        ("weeks a list", lambda v: v["pairs"][0].update(weeks=[1]), "any"),
        ("stain of 1 MB", lambda v: v["pairs"][0].update(stain="x" * 10**6), "any"),
        ("halves a text", lambda v: v.update(halves="abc"), "any"),
    )
    for operator, change, expect in changes:
        yield Case("dataset", f"dataset.yaml: {operator}", index(change), dataset_commands(COUNT()), expect)


# --- runs
RESUME: Command = ("train", "WORLD/dataset", "run", "--resume", "--recipe", "WORLD/recipe.yaml", "--max-steps", "4")
EVALUATE: Command = (
    "evaluate",
    "run",
    "WORLD/dataset",
    "out-evaluation",
    "--lpips",
    "none",
    "--patch-px",
    "16",
    "--no-baselines",
)


def runs() -> Iterator[Case]:
    """Runs of a training."""
    for site in ("last", "run.yaml", "metrics.csv", "best-total", "recipe.yaml"):
        for operator, apply, expect in OPERATORS:

            def damage(folder: Path, rng: Rng, apply: Callable[[Path, Rng], None] = apply, site: str = site) -> None:
                apply(copy(folder, "run") / site, rng)

            answer: Expectation = "refuse" if site == "last" and expect in ("refuse", "same") else "any"
            yield Case("run", f"{site}: {operator}", damage, (RESUME,), answer)

    def pickled(folder: Path, rng: Rng) -> None:
        evil_pickle(copy(folder, "run") / "last")

    def torch_pickled(folder: Path, rng: Rng) -> None:
        import torch

        from studies.trust.hostile.models import Evil

        torch.save({"networks": Evil()}, copy(folder, "run") / "last")

    def other(value: Any) -> Callable[[Path, Rng], None]:
        def make(folder: Path, rng: Rng) -> None:
            import torch

            torch.save(value, copy(folder, "run") / "last")

        return make

    def changed(change: Callable[[dict[str, Any]], object]) -> Callable[[Path, Rng], None]:
        def make(folder: Path, rng: Rng) -> None:
            import torch

            path = copy(folder, "run") / "last"
            values = torch.load(path, weights_only=True)
            change(values)
            torch.save(values, path)

        return make

    yield Case("run", "last: a pickle that runs a program", pickled, (RESUME,), "refuse")
    yield Case("run", "last: a checkpoint that runs a program", torch_pickled, (RESUME,), "refuse")
    for value in (None, [], {}, {"networks": None}, 3, "abc"):
        yield Case("run", f"last: {value!r}", other(value), (RESUME,), "refuse")
    changes: tuple[tuple[str, Callable[[dict[str, Any]], object]], ...] = (
        ("without networks", lambda v: v.pop("networks", None)),
        ("networks empty", lambda v: v.update(networks={})),
        ("step -1", lambda v: v.update(step=-1)),
        ("step a text", lambda v: v.update(step="abc")),
        ("step 10^30", lambda v: v.update(step=10**30)),
        ("optimisers empty", lambda v: v.update(optimisers={})),
    )
    for operator, change in changes:
        yield Case("run", f"last: {operator}", changed(change), (RESUME,), "any" if "10^30" in operator else "refuse")

    def nan_weights(values: dict[str, Any]) -> None:
        for state in values["networks"].values():
            for tensor in state.values():
                tensor.fill_(float("nan"))

    yield Case("run", "last: weights of NaN", changed(nan_weights), (RESUME,), "refuse")

    def folder_only(*keep: str) -> Callable[[Path, Rng], None]:
        def make(folder: Path, rng: Rng) -> None:
            run = copy(folder, "run")
            for path in list(run.iterdir()):
                if path.name not in keep:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()

        return make

    for keep in (
        ("recipe.yaml",),
        ("run.yaml",),
        ("metrics.csv",),
        ("last",),
        ("run.yaml", "last"),
        ("recipe.yaml", "run.yaml"),
    ):
        yield Case("run", f"only {' and '.join(keep)}", folder_only(*keep), (RESUME, EVALUATE), "any")

    def fifo_in_dataset(folder: Path, rng: Rng) -> None:
        copy(folder, "run")
        os.mkfifo(folder / "run/model/extra")

    yield Case("run", "a FIFO in the model", fifo_in_dataset, (EVALUATE, ("check", "run")), "any")


def cases() -> Iterator[Case]:
    """All hostile folders of our own."""
    yield from stained()
    yield from datasets()
    yield from runs()
