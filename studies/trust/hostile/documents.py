"""Hostile documents: YAML of configurations and sections, recipes, and CSV tables."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from studies.trust.hostile.case import Case, Command, Expectation, Rng
from studies.trust.hostile.operators import OPERATORS


def alias_bomb(depth: int = 12, key: str = "a") -> str:
    """Return YAML whose aliases expand to 10^depth items."""
    lines = [f"{key}0: &{key}0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"{key}{i}: &{key}{i} [{', '.join([f'*{key}{i - 1}'] * 10)}]" for i in range(1, depth)]
    return "\n".join(lines) + "\n"


def merge_bomb(depth: int = 24) -> str:
    """Return YAML whose merge keys double at each level."""
    lines = ["m0: &m0 {k: 1}"] + [f"m{i}: &m{i} {{<<: [*m{i - 1}, *m{i - 1}]}}" for i in range(1, depth)]
    return "\n".join(lines) + "\n"


# Texts for any YAML file; `{key}` is a key that the file may have, `{good}` its undamaged text.
YAML: tuple[tuple[str, str, Expectation], ...] = (
    ("alias bomb", alias_bomb(), "refuse"),
    (
        "alias bomb under a known key",
        "{key}: \n" + "\n".join("  " + line for line in alias_bomb(9).splitlines()) + "\n",
        "refuse",
    ),
    ("alias bomb behind good values", "{good}\n" + alias_bomb(9), "refuse"),
    ("merge bomb", merge_bomb(), "refuse"),
    ("an alias of itself", "{key}: &a [*a]\n", "refuse"),
    ("a mapping that contains itself", "&a {{{key}: *a}}\n", "refuse"),
    ("lists nested 3,000 deep", "{key}: " + "[" * 3000 + "]" * 3000 + "\n", "refuse"),
    ("lists nested 100,000 deep", "[" * 100000, "refuse"),
    ("mappings nested 2,000 deep", "\n".join(" " * i + "a:" for i in range(2000)), "refuse"),
    ("flow mappings nested 5,000 deep", "{key}: " + "{{a: " * 5000 + "}}" * 5000, "refuse"),
    ("an integer of 10^5 digits", "{key}: " + "9" * 100000 + "\n", "refuse"),
    ("an integer of 10^5 digits as a key", "9" * 100000 + ": 1\n", "refuse"),
    ("a float of 10^5 digits", "{key}: 1." + "9" * 100000 + "\n", "any"),
    ("hexadecimal, 10^6 digits", "{key}: 0x" + "f" * 10**6 + "\n", "refuse"),
    ("base 60", "{key}: 1:2:3:4:5:6:7:8:9:10:11:12\n", "any"),
    ("an impossible date", "{key}: 2026-02-31\n", "refuse"),
    ("an impossible time", "{key}: 2026-02-01T25:61:61Z\n", "refuse"),
    ("year 0", "{key}: 0000-00-00\n", "refuse"),
    ("os.system", "{key}: !!python/object/apply:os.system ['touch executed']\n", "refuse"),
    ("subprocess", "!!python/object/new:subprocess.Popen [['touch', 'executed']]\n", "refuse"),
    ("python/name", "{key}: !!python/name:os.system\n", "refuse"),
    ("python/module", "{key}: !!python/module:this\n", "refuse"),
    ("binary", "{key}: !!binary AAAA\n", "any"),
    ("a set", "!!set {{{key}}}\n", "any"),
    ("an unknown tag", "{key}: !evil 1\n", "refuse"),
    ("an include", "{key}: !include ../outside/secret.yaml\n", "refuse"),
    ("a key twice", "{good}\n{good}\n", "refuse"),
    ("a list", "- 1\n- 2\n", "refuse"),
    ("a text", "just a text\n", "refuse"),
    ("null", "null\n", "any"),
    ("two documents", "{good}\n---\n{good}\n", "refuse"),
    ("10^5 documents", "---\na: 1\n" * 10**5, "refuse"),
    ("NUL bytes", "{key}: \0\0\n", "refuse"),
    ("a tab", "\t{key}: 1\n", "refuse"),
    ("no closing quote", '{key}: "abc\n', "refuse"),
    ("10^6 keys", "\n".join(f"k{i}: {i}" for i in range(10**5)), "refuse"),
    ("a line of 10 MB", "{key}: " + "x" * 10**7 + "\n", "any"),
    ("a comment of 10 MB", "{good}\n# " + "x" * 10**7 + "\n", "any"),
    ("a list as key", "? [1, 2]\n: 3\n", "refuse"),
    ("a mapping as key", "? {{a: 1}}\n: 3\n", "refuse"),
    ("null as key", "{good}\n~: 1\n", "refuse"),
    ("nan", "{key}: .nan\n", "refuse"),
    ("infinity", "{key}: .inf\n", "refuse"),
    ("10^400", "{key}: 1.0e+400\n", "refuse"),
)


def filled(text: str, key: str, good: str) -> str:
    """Insert a key and the good text. Not `format`: good texts contain braces."""
    return text.replace("{key}", key).replace("{good}", good.rstrip()).replace("{{", "{").replace("}}", "}")


def yaml_cases(
    kind: str, name: str, write: Callable[[Path], Path], key: str, commands: tuple[Command, ...], some: int = 1
) -> Iterator[Case]:
    """Return a case for each hostile text and each damage, in one file.

    Parameters
    ----------
    kind, name : str
    write : callable
        Writes the undamaged input into a folder, and returns the file that is damaged.
    key : str
        A key of that file.
    commands : tuple
    some : int
        Take every so-many-th text.
    """
    for number, (operator, text, expect) in enumerate(YAML):
        if number % some:
            continue

        def make(folder: Path, rng: Rng, text: str = text) -> None:
            path = write(folder)
            path.write_text(filled(text, key, path.read_text()))

        yield Case(kind, f"{name}: {operator}", make, commands, expect)
    for operator, apply, expect in OPERATORS:
        if operator == "bytes appended":
            continue

        def damage(folder: Path, rng: Rng, apply: Callable[[Path, Rng], None] = apply) -> None:
            apply(write(folder), rng)

        # Every part of a YAML file is a YAML file.
        yield Case(
            kind,
            f"{name}: {operator}",
            damage,
            commands,
            "any" if expect == "same" or operator == "missing" else expect,
        )


def text_file(name: str, text: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_text(text)
        return folder / name

    return write


def section_file(folder: Path) -> Path:
    text = (folder.parents[1] / "world/specimen/truth/section.yaml").read_text()
    (folder / "section.yaml").write_text(text)
    return folder / "section.yaml"


def configurations() -> Iterator[Case]:
    """Configurations of verbs, and the pose of a section."""
    phantom = (("phantom", "out", "--config", "c.yaml", "--dry-run"),)
    yield from yaml_cases("yaml", "phantom --config", text_file("c.yaml", "weeks: 8\nseed: 3\n"), "seed", phantom)
    register = (
        (
            "register",
            "WORLD/specimen/volume",
            "WORLD/specimen/slide.ome.tif",
            "out-pair",
            "--config",
            "c.yaml",
            "--dry-run",
        ),
    )
    yield from yaml_cases("yaml", "register --config", text_file("c.yaml", "seed: 3\n"), "seed", register, some=3)
    start = (
        (
            "register",
            "WORLD/specimen/volume",
            "WORLD/specimen/slide.ome.tif",
            "out-pair",
            "--init",
            "section.yaml",
            "--dry-run",
        ),
    )
    yield from yaml_cases("yaml", "register --init", section_file, "pixel_um", start, some=2)
    aligned = (("prepare", "--aligned", "ct", "he", "out-dataset", "--voxel-um", "20", "--config", "c.yaml"),)

    def with_images(folder: Path) -> Path:
        from studies.trust.hostile.images import aligned_base

        aligned_base(folder)
        return text_file("c.yaml", "mask: none\nnormalise: range\n")(folder)

    yield from yaml_cases("yaml", "prepare --config", with_images, "mask", aligned, some=4)
    values: tuple[tuple[str, str], ...] = (
        ("size of 10^9", "shape: [1000000000, 1000000000, 1000000000]\n"),
        ("shape of 20,000", "shape: [20000, 20000, 20000]\n"),
        ("negative shape", "shape: [-1, 16, 16]\n"),
        ("voxels of 1e-9 µm", "voxel_um: 1.0e-9\nshape: [16, 16, 16]\n"),
        ("pixels of 1e-9 µm", "pixel_um: 1.0e-9\n"),
        ("pixels of 0.001 µm", "pixel_um: 0.001\n"),
        ("weeks 10^9", "weeks: 1000000000\n"),
        ("seed 2^70", "seed: 1180591620717411303424\n"),
        ("seed -1", "seed: -1\n"),
        ("stain of 1 MB", "stain: " + "x" * 10**6 + "\n"),
    )
    for operator, text in values:
        yield Case(
            "yaml",
            f"phantom: {operator}",
            writing("c.yaml", text),
            (("phantom", "out", "--config", "c.yaml", "--dry-run"),),
            "any",
        )
    for operator, text in (
        ("pixels of 1e-9 µm", "pixel_um: 1.0e-9\n"),
        ("shape of 20,000", "shape: [20000, 20000, 20000]\n"),
        ("seed 2^70", "seed: 1180591620717411303424\nshape: [16, 16, 16]\n"),
    ):
        yield Case(
            "yaml",
            f"phantom, grown: {operator}",
            writing("c.yaml", text),
            (("phantom", "out", "--config", "c.yaml"),),
            "any",
        )
    poses: tuple[tuple[str, dict[str, Any]], ...] = (
        ("origin nan", {"origin_um": [float("nan")] * 3}),
        ("origin 1e300", {"origin_um": [1e300] * 3}),
        ("row 0", {"row": [0.0, 0.0, 0.0]}),
        ("row parallel to column", {"row": [0.0, 1.0, 0.0], "column": [0.0, 1.0, 0.0]}),
        ("row of two", {"row": [0.0, 1.0]}),
        ("row of texts", {"row": ["a", "b", "c"]}),
        ("affine singular", {"slide_to_section": [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]}),
        ("affine infinite", {"slide_to_section": [[float("inf"), 0.0, 0.0], [0.0, 1.0, 0.0]]}),
        ("affine of 10^6", {"slide_to_section": [[1e6, 0.0, 0.0], [0.0, 1e6, 0.0]]}),
        ("affine ragged", {"slide_to_section": [[1.0], [0.0, 1.0, 0.0]]}),
        ("pixel 0", {"pixel_um": 0}),
        ("pixel 1e-12", {"pixel_um": 1e-12}),
        ("far away", {"origin_um": [1e7, 1e7, 1e7]}),
    )
    for operator, changes in poses:

        def make(folder: Path, rng: Rng, changes: dict[str, Any] = changes) -> None:
            path = section_file(folder)
            path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))
            world = folder.parents[1] / "world/specimen"
            (folder / "specimens.csv").write_text(
                f"specimen,volume,slide,section\na,{world}/volume,{world}/slide.ome.tif,section.yaml\n"
            )

        commands = (*start, ("prepare", "specimens.csv", "out-dataset"))
        yield Case("yaml", f"section: {operator}", make, commands, "any" if operator.startswith("pixel") else "refuse")


def writing(name: str, text: str) -> Callable[[Path, Rng], None]:
    def make(folder: Path, rng: Rng) -> None:
        (folder / name).write_text(text)

    return make


def recipe_file(folder: Path) -> Path:
    text = (folder.parents[1] / "world/recipe.yaml").read_text()
    (folder / "r.yaml").write_text(text)
    return folder / "r.yaml"


def recipes() -> Iterator[Case]:
    """Recipes."""
    plan = ("train", "WORLD/dataset", "out-run", "--recipe", "r.yaml", "--dry-run")
    step = ("train", "WORLD/dataset", "out-run", "--recipe", "r.yaml", "--max-steps", "1")
    yield from yaml_cases("recipe", "recipe", recipe_file, "batch", (plan,))
    resnet = {"name": "resnet", "width": 2, "blocks": 1}
    values: tuple[tuple[str, dict[str, Any], Expectation], ...] = (
        ("betas of 1", {"betas": [1.0, 1.0]}, "refuse"),
        ("betas negative", {"betas": [-0.5, 0.9]}, "refuse"),
        ("betas of three", {"betas": [0.5, 0.9, 0.9]}, "refuse"),
        ("betas of texts", {"betas": ["a", "b"]}, "refuse"),
        ("patch of 10^6", {"patch_px": 10**6}, "refuse"),
        ("patch of 10^30", {"patch_px": 10**30}, "refuse"),
        ("patch of 20,000", {"patch_px": 20000}, "refuse"),
        ("patch of 8", {"patch_px": 8}, "any"),
        ("patch of 17", {"patch_px": 17}, "any"),
        ("patch of 16.5", {"patch_px": 16.5}, "refuse"),
        ("batch of 10^9", {"batch": 10**9}, "refuse"),
        ("batch of 10^5", {"batch": 10**5}, "refuse"),
        ("batch of 10^30", {"batch": 10**30}, "refuse"),
        ("batch 0", {"batch": 0}, "refuse"),
        ("batch true", {"batch": True}, "any"),
        ("accumulate 10^9", {"accumulate": 10**9}, "refuse"),
        ("patches per pair 10^30", {"patches_per_pair": 10**30}, "any"),
        ("epochs 10^30", {"epochs": 10**30}, "any"),
        ("buffer 10^30", {"buffer": 10**30}, "any"),
        ("buffer -1", {"buffer": -1}, "refuse"),
        ("residual registration 10^30", {"residual_registration": 10**30}, "any"),
        ("learning rate 1e300", {"learning_rate": 1e300}, "any"),
        ("learning rate -1", {"learning_rate": -1.0}, "refuse"),
        ("learning rate 0", {"learning_rate": 0}, "refuse"),
        ("average 1", {"average": 1.0}, "refuse"),
        ("average 0.999999999999", {"average": 0.999999999999}, "any"),
        ("clip -1", {"clip_norm": -1}, "refuse"),
        ("precision evil", {"precision": "evil"}, "refuse"),
        ("kernels evil", {"kernels": "evil"}, "refuse"),
        ("compile os.system", {"compile": "os.system"}, "refuse"),
        ("terms empty", {"terms": {}}, "refuse"),
        ("terms unknown", {"terms": {"evil": 1}}, "refuse"),
        ("terms a list", {"terms": ["cycle"]}, "refuse"),
        ("weight 1e308", {"terms": {"adversarial": 1e308, "cycle": 1e308}}, "any"),
        ("weight negative", {"terms": {"adversarial": 1, "cycle": -6}}, "any"),
        ("weight 0 everywhere", {"terms": {"adversarial": 0}}, "refuse"),
        ("width 2,048", {"generator": {"name": "resnet", "width": 2048, "blocks": 1}}, "any"),
        ("width 10^9", {"generator": {"name": "resnet", "width": 10**9, "blocks": 1}}, "refuse"),
        ("width 0", {"generator": {"name": "resnet", "width": 0, "blocks": 1}}, "refuse"),
        ("width 2.5", {"generator": {"name": "resnet", "width": 2.5, "blocks": 1}}, "refuse"),
        ("blocks 4,096", {"generator": {"name": "resnet", "width": 2, "blocks": 4096}}, "any"),
        ("blocks 4,096 of width 64", {"generator": {"name": "resnet", "width": 64, "blocks": 4096}}, "refuse"),
        ("blocks 10^9", {"generator": {"name": "resnet", "width": 2, "blocks": 10**9}}, "refuse"),
        ("unet of 30 downs", {"generator": {"name": "unet", "width": 2, "downs": 30}}, "refuse"),
        (
            "unet of width 512, 8 downs",
            {"generator": {"name": "unet", "width": 512, "downs": 8}, "patch_px": 256},
            "any",
        ),
        ("generator evil", {"generator": {"name": "evil"}}, "refuse"),
        ("generator os.system", {"generator": {"name": "os.system", "width": "touch executed"}}, "refuse"),
        ("generator a text", {"generator": "resnet"}, "refuse"),
        ("generator without a name", {"generator": {"width": 2}}, "refuse"),
        ("discriminator of 30 layers", {"discriminator": {"name": "patch", "width": 2, "layers": 30}}, "refuse"),
        ("discriminator of width 4,096", {"discriminator": {"name": "patch", "width": 4096, "layers": 3}}, "refuse"),
        ("ct_slices 99999", {"ct_slices": 99999}, "refuse"),
        ("ct_slices 2", {"ct_slices": 2}, "refuse"),
        ("ct_slices 9", {"ct_slices": 9, "in_channels": 1}, "refuse"),
        ("noise of 10^6 channels", {"noise": {"channels": 10**6}}, "refuse"),
        ("noise of 1e300 px", {"noise": {"channels": 1, "correlation_px": 1e300}}, "refuse"),
        ("noise of 0 px", {"noise": {"channels": 1, "correlation_px": 0}}, "refuse"),
        (
            "grey knots not sorted",
            {"generator": {"name": "unet", "width": 2, "downs": 2, "grey_knots": [1.0, 0.0]}},
            "refuse",
        ),
        (
            "10^5 grey knots",
            {"generator": {"name": "unet", "width": 2, "downs": 2, "grey_knots": [i / 1e5 for i in range(10**5)]}},
            "refuse",
        ),
        ("scale 0", {"augment": {"scale": [0.0, 1.0]}}, "refuse"),
        ("scale reversed", {"augment": {"scale": [1.1, 0.9]}}, "refuse"),
        ("scale 10^9", {"augment": {"scale": [1.0, 1e9]}}, "any"),
        ("scale 10^-9", {"augment": {"scale": [1e-9, 1.0]}}, "any"),
        ("jitter 10^9", {"augment": {"jitter": 1e9}}, "any"),
        ("min_mask 2", {"augment": {"min_mask": 2}}, "refuse"),
        ("base of itself", {"base": "r.yaml"}, "any"),
        ("base outside", {"base": "../outside/secret"}, "any"),
        ("base unknown", {"base": "evil"}, "refuse"),
        ("name ../../evil", {"name": "../../evil"}, "any"),
        ("name of 10^6 letters", {"name": "x" * 10**6}, "any"),
        ("description of 10^6 letters", {"description": "x" * 10**6}, "any"),
        ("unknown key", {"evil": 1}, "refuse"),
        ("5,000 unknown keys", {f"evil{i}": 1 for i in range(5000)}, "refuse"),
        ("generator of 5,000 keys", {"generator": resnet | {f"e{i}": 1 for i in range(5000)}}, "refuse"),
    )
    for operator, changes, expect in values:

        def make(folder: Path, rng: Rng, changes: dict[str, Any] = changes) -> None:
            path = recipe_file(folder)
            path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))

        yield Case("recipe", operator, make, (plan, step), expect)


def tables() -> Iterator[Case]:
    """CSV tables of specimens, landmarks and points."""
    specimen = "WORLD/specimen"
    good = (
        f"specimen,volume,slide,section\na,{specimen}/volume,{specimen}/slide.ome.tif,{specimen}/truth/section.yaml\n"
    )
    head, row = good.splitlines()
    prepare: tuple[Command, ...] = (("prepare", "specimens.csv", "out-dataset"),)
    texts: tuple[tuple[str, str, Expectation], ...] = (
        ("semicolons", good.replace(",", ";"), "any"),
        ("tabs", good.replace(",", "\t"), "any"),
        ("no closing quote", head + '\n"a,' + row, "refuse"),
        ("NUL bytes", head + "\n\0" + row, "refuse"),
        ("only the header", head + "\n", "refuse"),
        ("no header", row + "\n", "refuse"),
        ("a column twice", "specimen,volume,slide,slide\na,v,s,s\n", "refuse"),
        ("an unknown column", head + ",evil\n" + row + ",1\n", "refuse"),
        ("too many cells", head + "\n" + row + ",1,2,3\n", "refuse"),
        ("too few cells", head + "\na\n", "refuse"),
        ("10^5 columns", ",".join(["specimen", *(f"c{i}" for i in range(10**5))]) + "\n", "refuse"),
        ("a cell of 1 MB", head + "\n" + "x" * 10**6 + row[1:] + "\n", "refuse"),
        ("10^5 lines", head + "\n" + f"{row}\n" * 10**5, "any"),
        ("id ../../evil", head + "\n../../evil" + row[1:] + "\n", "refuse"),
        ("id /tmp/evil", head + "\n/tmp/evil" + row[1:] + "\n", "refuse"),
        ("id ..", head + "\n.." + row[1:] + "\n", "refuse"),
        ("id with a line break", head + '\n"a\nb"' + row[1:] + "\n", "refuse"),
        ("id =cmd|'/c calc'!A1", head + "\n=cmd|'/c calc'!A1" + row[1:] + "\n", "any"),
        ("volume missing", head + f"\na,gone,{specimen}/slide.ome.tif,{specimen}/truth/section.yaml\n", "refuse"),
        ("volume a FIFO", head + f"\na,fifo,{specimen}/slide.ome.tif,{specimen}/truth/section.yaml\n", "refuse"),
        ("slide a FIFO", head + f"\na,{specimen}/volume,fifo,{specimen}/truth/section.yaml\n", "refuse"),
        ("section a FIFO", head + f"\na,{specimen}/volume,{specimen}/slide.ome.tif,fifo\n", "refuse"),
        (
            "volume the table itself",
            head + f"\na,specimens.csv,{specimen}/slide.ome.tif,{specimen}/truth/section.yaml\n",
            "refuse",
        ),
        (
            "volume the folder itself",
            head + f"\na,.,{specimen}/slide.ome.tif,{specimen}/truth/section.yaml\n",
            "refuse",
        ),
        ("voxel_um nan", head + ",voxel_um\n" + row + ",nan\n", "refuse"),
        ("voxel_um -1", head + ",voxel_um\n" + row + ",-1\n", "refuse"),
        ("voxel_um 1e-9", head + ",voxel_um\n" + row + ",1e-9\n", "refuse"),
        ("pixel_um inf", head + ",pixel_um\n" + row + ",inf\n", "refuse"),
        ("pixel_um 0,5", head + ",pixel_um\n" + row + ',"0,5"\n', "any"),
        ("weeks abc", head + ",weeks\n" + row + ",abc\n", "refuse"),
        ("weeks 1e400", head + ",weeks\n" + row + ",1e400\n", "refuse"),
    )

    def table(text: str) -> Callable[[Path, Rng], None]:
        def make(folder: Path, rng: Rng) -> None:
            import os

            os.mkfifo(folder / "fifo")
            (folder / "specimens.csv").write_text(text.replace("WORLD", str(folder.parents[1] / "world")))

        return make

    for operator, text, expect in texts:
        yield Case("csv", f"specimens: {operator}", table(text), prepare, expect)

    def damage(text: str, name: str, apply: Callable[[Path, Rng], None]) -> Callable[[Path, Rng], None]:
        def make(folder: Path, rng: Rng) -> None:
            (folder / name).write_text(text.replace("WORLD", str(folder.parents[1] / "world")))
            apply(folder / name, rng)

        return make

    marks = "slide_row_um,slide_column_um,z_um,y_um,x_um\n" + "".join(
        f"{r},{c},{r},{c},{r + c}\n" for r, c in ((100, 100), (900, 200), (300, 1100), (700, 700))
    )
    points = "z_um,y_um,x_um\n0,0,0\n100,0,400\n100,700,0\n50,300,300\n"
    register: tuple[Command, ...] = (
        (
            "register",
            "WORLD/specimen/volume",
            "WORLD/specimen/slide.ome.tif",
            "out-pair",
            "--landmarks",
            "marks.csv",
            "--dry-run",
        ),
    )
    section: tuple[Command, ...] = (
        ("section", "WORLD/stained.ome.zarr", "out.ome.tif", "--points", "points.csv"),
        ("section", "WORLD/stained.ome.zarr", "out2.ome.tif", "--points", "points.csv", "--curved"),
    )
    for name, text, commands in (
        ("specimens.csv", good, prepare),
        ("marks.csv", marks, register),
        ("points.csv", points, section),
    ):
        for operator, apply, expect in OPERATORS:
            # Every part of a table is a table.
            answer: Expectation = "any" if expect == "same" or operator == "missing" else expect
            yield Case("csv", f"{name}: {operator}", damage(text, name, apply), commands, answer)
    for name, text, commands in (("marks.csv", marks, register), ("points.csv", points, section)):
        lines = text.splitlines()
        variants: tuple[tuple[str, list[str], Expectation], ...] = (
            ("nan", [*lines[:3], lines[3].replace(lines[3].split(",")[0], "nan")], "refuse"),
            ("infinity", [*lines[:3], lines[3].replace(lines[3].split(",")[0], "inf")], "refuse"),
            ("1e300", [*lines[:3], ",".join(["1e300"] * len(lines[0].split(",")))], "refuse"),
            ("a text", [*lines[:3], ",".join(["abc"] * len(lines[0].split(",")))], "refuse"),
            ("two points", lines[:3], "refuse"),
            ("no points", lines[:1], "refuse"),
            ("one point four times", [lines[0], *[lines[1]] * 4], "refuse"),
            (
                "points on a line",
                [lines[0], *[",".join([str(v)] * len(lines[0].split(","))) for v in (1, 2, 3, 4)]],
                "refuse",
            ),
            ("decimal commas", [lines[0], *['"' + line.replace(",", '","') + '"' for line in lines[1:]]], "any"),
            (
                "10^4 points",
                [
                    lines[0],
                    *[
                        ",".join(str((i * (k + 7)) % 1000) for k in range(len(lines[0].split(","))))
                        for i in range(10**4)
                    ],
                ],
                "any",
            ),
            ("columns in another order", [",".join(reversed(line.split(","))) for line in lines], "any"),
            ("a missing cell", [*lines[:3], lines[3].rsplit(",", 1)[0]], "refuse"),
        )
        for operator, content, expect in variants:
            yield Case("csv", f"{name}: {operator}", writing(name, "\n".join(content) + "\n"), commands, expect)


def undamaged() -> Iterator[Case]:
    """Return undamaged documents, with the commands of the damaged ones."""
    start = (
        "register",
        "WORLD/specimen/volume",
        "WORLD/specimen/slide.ome.tif",
        "out-pair",
        "--init",
        "section.yaml",
        "--dry-run",
    )
    plan = ("train", "WORLD/dataset", "out-run", "--recipe", "r.yaml", "--dry-run")
    step = ("train", "WORLD/dataset", "out-run", "--recipe", "r.yaml", "--max-steps", "1")
    yield Case(
        "yaml",
        "phantom",
        writing("c.yaml", "weeks: 8\nseed: 3\n"),
        (("phantom", "out", "--config", "c.yaml", "--dry-run"),),
    )
    yield Case("yaml", "section", lambda folder, rng: (section_file(folder), None)[1], (start,))
    yield Case("recipe", "recipe", lambda folder, rng: (recipe_file(folder), None)[1], (plan, step))
    for each in tables():
        if each.operator.endswith(".csv: 1 bit flipped"):
            yield Case("csv", each.operator.partition(":")[0], undone(each), each.commands)


def undone(damaged_case: Case) -> Callable[[Path, Rng], None]:
    """Return a writer of the file of a case, without its damage."""

    class NoBits:
        """Flips nothing: a generator that draws no places."""

        def integers(self, *arguments: int) -> list[int]:
            return []

    return lambda folder, rng: damaged_case.make(folder, NoBits())  # type: ignore[arg-type]


def cases() -> Iterator[Case]:
    """All hostile documents."""
    yield from configurations()
    yield from recipes()
    yield from tables()
