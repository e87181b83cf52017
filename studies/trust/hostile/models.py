"""Hostile model folders: weights, `model.yaml`, checksums, and code next to them."""

import hashlib
import json
import pickle
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from studies.trust.hostile.case import VOXEL_UM, Case, Command, Expectation, Rng
from studies.trust.hostile.documents import yaml_cases
from studies.trust.hostile.operators import OPERATORS
from studies.trust.hostile.volumes import Counter

COUNT = Counter()
STAIN: Command = (
    "stain",
    "m",
    "WORLD/volume.tif",
    "out.ome.zarr",
    "--voxel-um",
    str(VOXEL_UM),
    "--background",
    "10000",
    "--bone",
    "30000",
)


def commands(number: int) -> tuple[Command, ...]:
    """Return the commands that read a model: `check`, `stain`, and one of the others in turn."""
    others: tuple[Command, ...] = (
        ("evaluate", "m", "WORLD/dataset", "out-evaluation", "--lpips", "none", "--patch-px", "16", "--no-baselines"),
        ("train", "WORLD/dataset", "out-run", "--init", "m", "--max-steps", "1"),
        ("models", "describe", "m"),
        ("models", "copy", "m", "out-model"),
        ("check", "m", "--against", "WORLD/volume.tif", "--voxel-um", str(VOXEL_UM)),
    )
    return (("check", "m"), STAIN, others[number % len(others)])


def copied(folder: Path) -> Path:
    """Copy a good model, that of the run: it has every part."""
    shutil.copytree(folder.parents[1] / "world/run/model", folder / "m")
    return folder / "m"


def resigned(model: Path) -> None:
    """Write the checksums again, so that the damage itself is what is read."""
    lines = (model / "SHA256SUMS").read_text().splitlines()
    names = [line.split()[-1] for line in lines]
    sums = {name: hashlib.sha256((model / name).read_bytes()).hexdigest() for name in names if (model / name).is_file()}
    (model / "SHA256SUMS").write_text("".join(f"{sums.get(name, '0' * 64)}  {name}\n" for name in names))


def case(operator: str, change: Callable[[Path, Rng], None], expect: Expectation, *, sign: bool = True) -> Case:
    """Return a case that changes a copy of a model."""

    def make(folder: Path, rng: Rng) -> None:
        model = copied(folder)
        change(model, rng)
        if sign:
            resigned(model)

    return Case("model", operator, make, commands(COUNT()), expect)


def tensors(
    change: Callable[[dict[str, Any]], object], name: str = "generator.safetensors"
) -> Callable[[Path, Rng], None]:
    """Change the weights."""

    def apply(model: Path, rng: Rng) -> None:
        from safetensors.torch import load_file, save_file

        state = load_file(model / name)
        change(state)
        save_file(state, model / name)

    return apply


def raw_tensors(header: Any, data: bytes = b"", length: int | None = None) -> Callable[[Path, Rng], None]:
    """Write a safetensors file without the library."""

    def apply(model: Path, rng: Rng) -> None:
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        (model / "generator.safetensors").write_bytes(
            struct.pack("<Q", len(text) if length is None else length) + text + data
        )

    return apply


class Evil:
    """Runs a program when it is unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        import os

        return os.system, ("touch executed",)


def evil_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Evil()))


def spec(change: Callable[[dict[str, Any]], object]) -> Callable[[Path, Rng], None]:
    """Change `model.yaml`."""

    def apply(model: Path, rng: Rng) -> None:
        values = yaml.safe_load((model / "model.yaml").read_text())
        change(values)
        (model / "model.yaml").write_text(yaml.safe_dump(values))

    return apply


def weights() -> Iterator[Case]:
    """Weights of wrong types, sizes and values."""
    import torch

    def each(function: Callable[[Any], Any]) -> Callable[[dict[str, Any]], object]:
        return lambda state: state.update({key: function(value) for key, value in state.items()})

    def one(function: Callable[[Any], Any]) -> Callable[[dict[str, Any]], object]:
        return lambda state: state.update({next(iter(state)): function(next(iter(state.values())))})

    def with_value(value: float) -> Callable[[Any], Any]:
        def put(tensor: Any) -> Any:
            tensor = tensor.clone()
            tensor.view(-1)[0] = value
            return tensor

        return put

    changes: tuple[tuple[str, Callable[[dict[str, Any]], object], Expectation], ...] = (
        ("integers", each(lambda t: t.to(torch.int32)), "refuse"),
        ("booleans", each(lambda t: t > 0), "refuse"),
        ("one integer tensor", one(lambda t: t.to(torch.int64)), "refuse"),
        ("one boolean tensor", one(lambda t: t > 0), "refuse"),
        ("float64", each(lambda t: t.double()), "any"),
        ("float16", each(lambda t: t.half()), "any"),
        ("bfloat16", each(lambda t: t.bfloat16()), "any"),
        ("one float16 tensor", one(lambda t: t.half()), "any"),
        ("complex", each(lambda t: t.to(torch.complex64)), "refuse"),
        ("float8", each(lambda t: t.to(torch.float8_e4m3fn)), "refuse"),
        ("all NaN", each(lambda t: t * float("nan")), "refuse"),
        ("one NaN", one(with_value(float("nan"))), "refuse"),
        ("one infinity", one(with_value(float("inf"))), "refuse"),
        ("one minus infinity", one(with_value(float("-inf"))), "refuse"),
        ("one 3e38", one(with_value(3e38)), "refuse"),
        ("times 1e30", each(lambda t: t * 1e30), "any"),
        ("times 1e8", each(lambda t: t * 1e8), "any"),
        ("all 0", each(lambda t: t * 0), "any"),
        ("a tensor less", lambda state: state.pop(next(iter(state))), "refuse"),
        ("a tensor more", lambda state: state.update(evil=torch.zeros(3)), "refuse"),
        ("an empty file", lambda state: state.clear(), "refuse"),
        ("another shape", one(lambda t: torch.zeros(7)), "refuse"),
        ("a scalar", one(lambda t: torch.zeros(())), "refuse"),
        ("an empty tensor", one(lambda t: torch.zeros((0, 3))), "refuse"),
        ("names with dots", lambda state: state.update({"../../evil": state.pop(next(iter(state)))}), "refuse"),
        ("10^4 tensors", lambda state: state.update({f"t{i}": torch.zeros(1) for i in range(10**4)}), "refuse"),
        ("200 MB more", lambda state: state.update(evil=torch.zeros(50_000_000)), "refuse"),
    )
    for operator, change, expect in changes:
        yield case(f"weights: {operator}", tensors(change), expect)
    for name in ("reverse.safetensors", "seen.safetensors"):
        for operator, change, expect in changes[:13:3] + changes[11:13] + changes[18:24]:
            yield case(
                f"{name}: {operator}",
                tensors(change, name),
                "any" if expect == "any" or name.startswith("seen") else expect,
            )
    tensor = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
    files: tuple[tuple[str, Callable[[Path, Rng], None]], ...] = (
        ("header of 2^63 bytes", raw_tensors(b"{}", length=(1 << 63) - 1)),
        ("header of 1 GB", raw_tensors(b"{}", length=1 << 30)),
        ("header that is not JSON", raw_tensors(b"not json")),
        ("header nested 10^5 deep", raw_tensors(b'{"a":' * 10**5)),
        ("header null", raw_tensors(None)),
        ("header a list", raw_tensors([])),
        ("shape of 10^18", raw_tensors({"w": tensor | {"shape": [10**18]}}, bytes(16))),
        ("shape overflows", raw_tensors({"w": tensor | {"shape": [1 << 32, 1 << 32, 4]}}, bytes(16))),
        ("offsets overlap", raw_tensors({"a": tensor, "b": tensor}, bytes(16))),
        ("offsets reversed", raw_tensors({"a": tensor | {"data_offsets": [16, 0]}}, bytes(16))),
        (
            "offsets beyond the end",
            raw_tensors({"a": tensor | {"data_offsets": [0, 1 << 40], "shape": [1 << 38]}}, bytes(16)),
        ),
        ("a hole", raw_tensors({"a": tensor | {"data_offsets": [16, 32]}}, bytes(32))),
        ("dtype evil", raw_tensors({"a": tensor | {"dtype": "EVIL"}}, bytes(16))),
        ("metadata of numbers", raw_tensors({"__metadata__": {"a": 1}, "w": tensor}, bytes(16))),
        ("a pickle", lambda model, rng: evil_pickle(model / "generator.safetensors")),
    )
    for operator, change in files:
        yield case(f"safetensors: {operator}", change, "refuse")
    for site in ("generator.safetensors", "seen.safetensors", "recipe.yaml", "README.md", "picture.png"):
        for operator, apply, _ in OPERATORS:
            listed = site not in ("README.md", "picture.png")
            answer: Expectation = "refuse" if listed else "any"

            def damage(model: Path, rng: Rng, apply: Callable[[Path, Rng], None] = apply, site: str = site) -> None:
                apply(model / site, rng)

            yield case(f"{site}, sums not renewed: {operator}", damage, answer, sign=False)
            if site == "generator.safetensors" and not operator.startswith("a ") and operator != "missing":
                yield case(
                    f"{site}, sums renewed: {operator}",
                    damage,
                    "any" if "flipped" in operator or "tenth" in operator else "refuse",
                )


def specs() -> Iterator[Case]:
    """`model.yaml` with values that the network or the machine cannot have."""

    def put(**values: Any) -> Callable[[dict[str, Any]], object]:
        return lambda old: old.update(values)

    def generator(**values: Any) -> Callable[[dict[str, Any]], object]:
        return lambda old: old["generator"].update(values)

    changes: tuple[tuple[str, Callable[[dict[str, Any]], object], Expectation], ...] = (
        ("width 4,096", generator(width=4096), "refuse"),
        ("width 2,048", generator(width=2048), "refuse"),
        ("width 10^18", generator(width=10**18), "refuse"),
        ("width -1", generator(width=-1), "refuse"),
        ("width a list", generator(width=[1]), "refuse"),
        ("blocks 4,096", generator(blocks=4096), "refuse"),
        ("blocks 10^9", generator(blocks=10**9), "refuse"),
        ("in_channels of the network 10^6", generator(in_channels=10**6), "refuse"),
        ("out_channels 1", generator(out_channels=1), "refuse"),
        ("name evil", generator(name="evil"), "refuse"),
        ("name ../evil", generator(name="../evil"), "refuse"),
        ("name of a module", generator(name="m.evil:Evil"), "refuse"),
        ("norm evil", generator(norm="evil"), "refuse"),
        ("no name", lambda old: old["generator"].pop("name"), "refuse"),
        ("generator null", put(generator=None), "refuse"),
        ("generator empty", put(generator={}), "refuse"),
        ("patch of 20,000 px", put(patch_px=20000), "refuse"),
        ("patch of 10^9 px", put(patch_px=10**9), "refuse"),
        ("patch of 8 px", put(patch_px=8), "any"),
        ("patch of -1 px", put(patch_px=-1), "refuse"),
        ("voxel 0", put(voxel_um=0), "refuse"),
        ("voxel 1e-300", put(voxel_um=1e-300), "any"),
        ("voxel nan", put(voxel_um=float("nan")), "refuse"),
        ("voxel of 1000 µm", put(voxel_um=1000.0), "any"),
        ("in_channels 1", put(in_channels=1), "refuse"),
        ("in_channels 7", put(in_channels=7), "refuse"),
        ("ct_slices 5", put(ct_slices=5), "refuse"),
        ("ct_slices 10^6+1", put(ct_slices=10**6 + 1), "refuse"),
        ("noise of 10^6 channels", put(noise={"channels": 10**6}), "refuse"),
        ("noise of 1", put(noise={"channels": 1, "correlation_px": 4.0}), "refuse"),
        ("noise of 10^9 px", put(noise={"channels": 1, "correlation_px": 1e9}), "refuse"),
        (
            "a reverse that is not there",
            put(reverse={"name": "resnet", "width": 2, "blocks": 2, "in_channels": 3}),
            "refuse",
        ),
        ("greys of texts", put(greys=[["a"] * 5]), "refuse"),
        ("greys of 10^5 pairs", put(greys=[[1.0] * 5] * 10**5), "any"),
        ("greys nan", put(greys=[[float("nan")] * 5]), "refuse"),
        ("metrics nested", put(metrics={"a": {"b": {"c": [1] * 1000}}}), "any"),
        ("metrics of HTML", put(metrics={"<script>alert(1)</script>": "<img src=x onerror=alert(1)>"}), "any"),
        ("stain of HTML", put(stain="<script>alert(1)</script>"), "any"),
        ("stain of 1 MB", put(stain="x" * 10**6), "any"),
        ("recipe of control characters", put(recipe="\x1b[2J\x1b[31m"), "any"),
        ("version of texts", put(tomostain_version="99.99"), "any"),
        ("version a number", put(tomostain_version=1), "refuse"),
        ("steps -1", put(steps=-1), "refuse"),
        ("fold 10^30", put(fold=10**30), "any"),
        ("training a text", put(training="abc"), "refuse"),
        ("fingerprint of texts", put(fingerprint={"q01": "abc"}), "refuse"),
        ("unknown key", put(evil=1), "refuse"),
    )
    for operator, change, expect in changes:
        yield case(f"model.yaml: {operator}", spec(change), expect)

    def write(folder: Path) -> Path:
        return copied(folder) / "model.yaml"

    for each in yaml_cases("model", "model.yaml, sums not renewed", write, "steps", (("check", "m"),), some=8):
        yield each

    def signed(text_case: Case) -> Case:
        def make(folder: Path, rng: Rng) -> None:
            text_case.make(folder, rng)
            resigned(folder / "m")

        return Case(
            "model",
            text_case.operator.replace("not renewed", "renewed"),
            make,
            (("check", "m"), STAIN),
            text_case.expect,
        )

    for number, each in enumerate(
        yaml_cases("model", "model.yaml, sums not renewed", write, "steps", (("check", "m"),))
    ):
        is_file = each.operator.rpartition(": ")[2] not in (
            "a FIFO",
            "a folder",
            "a link to itself",
            "a link to /dev/zero",
            "a broken link",
            "missing",
        )
        if is_file and number % 2 == 0:
            yield signed(each)


def sums() -> Iterator[Case]:
    """SHA256SUMS, links, and code in the folder."""
    zeros = "0" * 64
    texts: tuple[tuple[str, str, Expectation], ...] = (
        ("names a file outside", f"{zeros}  ../../outside/secret.txt\n", "refuse"),
        ("names an absolute file", f"{zeros}  /etc/passwd\n", "refuse"),
        ("is empty", "", "refuse"),
        ("has short sums", "abc  generator.safetensors\nabc  model.yaml\n", "refuse"),
        ("names a file twice", f"{zeros}  model.yaml\n{zeros}  model.yaml\n{zeros}  generator.safetensors\n", "refuse"),
        ("has 10^5 lines", f"{zeros}  model.yaml\n" * 10**5, "refuse"),
        ("leaves out the weights", f"{zeros}  model.yaml\n", "refuse"),
        ("is not text", "\udcff\udcfe", "refuse"),
    )
    for operator, text, expect in texts:

        def write(model: Path, rng: Rng, text: str = text) -> None:
            (model / "SHA256SUMS").write_bytes(text.encode("utf-8", "surrogateescape"))

        yield case(f"SHA256SUMS {operator}", write, expect, sign=False)
    for operator, apply, _ in OPERATORS:

        def damage(model: Path, rng: Rng, apply: Callable[[Path, Rng], None] = apply) -> None:
            apply(model / "SHA256SUMS", rng)

        yield case(
            f"SHA256SUMS: {operator}",
            damage,
            "any" if operator in ("bytes appended", "one byte less") else "refuse",
            sign=False,
        )

    def code(model: Path, rng: Rng) -> None:
        for name in (
            "__init__.py",
            "model.py",
            "conftest.py",
            "sitecustomize.py",
            "networks.py",
            "resnet.py",
            "setup.py",
        ):
            (model / name).write_text("open('executed', 'w').close()\n")
        evil_pickle(model / "generator.pt")
        evil_pickle(model / "pytorch_model.bin")

    yield case("code and pickles next to the weights", code, "any")

    def link(target: str) -> Callable[[Path, Rng], None]:
        def apply(model: Path, rng: Rng) -> None:
            (model / "generator.safetensors").unlink()
            (model / "generator.safetensors").symlink_to(target)

        return apply

    for target in ("/dev/zero", "/dev/urandom", "generator.safetensors", ".", "/etc/passwd"):
        yield case(f"weights are a link to {target}", link(target), "refuse", sign=False)


def cases() -> Iterator[Case]:
    """All hostile models."""
    yield from weights()
    yield from specs()
    yield from sums()
