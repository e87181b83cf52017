"""Change one operator of a numerical module at a time, and see whether the tests notice.

`python -m studies.trust.mutants OUT --count 120`

The modules of losses, normalisation, tiles, folds, scaling and geometry are changed one place at a time: comparisons,
arithmetic, constants, boundaries, swapped arguments, names of functions and modes. For each mutant only the test files
that mirror its module are run, in a fork of a process that has imported everything but tomostain; the changed module
exists in memory only. A mutant that no test notices is written to `survivors.md` as a diff.
"""

import argparse
import ast
import copy
import datetime
import difflib
import importlib
import importlib.abc
import importlib.util
import os
import platform
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType

import numpy as np

from studies.trust.forked import Limits, Outcome, run_function

ROOT = Path(__file__).parents[2]
# Area → module → the test files that mirror it.
TARGETS: dict[str, dict[str, tuple[str, ...]]] = {
    "losses": {
        "train/losses.py": ("train/test_train_losses.py",),
        "train/transforms.py": ("train/test_train_transforms.py", "train/test_train_sampling.py"),
        "train/augment.py": ("train/test_train_sampling.py", "train/test_train_transforms.py"),
    },
    "normalisation": {
        "imaging/intensity.py": ("imaging/test_imaging_intensity.py",),
        "imaging/colour.py": ("imaging/test_imaging_colour.py", "imaging/test_imaging_intensity.py"),
        "imaging/network_range.py": ("imaging/test_imaging_network_range.py",),
    },
    "tiles": {
        "tiling/grid.py": ("stain/test_stain_slices.py", "tiling/test_tiling_exact.py", "tiling/test_tiling_blend.py"),
        "tiling/blend.py": ("stain/test_stain_slices.py", "tiling/test_tiling_blend.py"),
        "tiling/exact.py": ("tiling/test_tiling_exact.py",),
        "tiling/slice_context.py": ("tiling/test_tiling_slice_context.py",),
    },
    "folds": {"dataset/folds.py": ("dataset/test_dataset_folds.py",)},
    "scaling": {
        "imaging/resampling.py": ("imaging/test_imaging_resampling.py",),
        "io/metadata/units.py": ("io/test_io_units.py", "io/test_io_volumes.py"),
    },
    "geometry": {
        "geometry/section.py": ("geometry/test_geometry_section.py",),
        "geometry/surfaces.py": ("view/test_view_sections.py",),
    },
    "metrics": {"evaluate/metrics/patch.py": ("evaluate/test_evaluate_metrics.py",)},
}
LIBRARIES = (
    "hypothesis",
    "hypothesis.strategies",
    "numpy",
    "pandas",
    "pydantic",
    "pytest",
    "scipy.ndimage",
    "scipy.optimize",
    "scipy.stats",
    "skimage.metrics",
    "skimage.measure",
    "tifffile",
    "torch",
    "torch.nn.functional",
    "yaml",
    "zarr",
    "PIL.Image",
)
COMPARISONS = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}
ARITHMETIC = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
}
NAMES = {
    "min": "max",
    "max": "min",
    "minimum": "maximum",
    "maximum": "minimum",
    "floor": "ceil",
    "ceil": "floor",
    "round": "int",
    "mean": "sum",
    "all": "any",
    "any": "all",
    "cos": "sin",
    "sin": "cos",
    "argmin": "argmax",
    "argmax": "argmin",
    "rint": "floor",
    "median": "mean",
    "cumsum": "cumprod",
    "zeros": "ones",
    "ones": "zeros",
}
TEXTS = {
    "area": "nearest",
    "bilinear": "nearest",
    "linear": "nearest",
    "reflect": "edge",
    "nearest": "constant",
    "edge": "constant",
    "border": "zeros",
    "replicate": "reflect",
    "mean": "sum",
}


@dataclass(frozen=True)
class Mutant:
    """One change of one module. `number` is the index of the place among all places of the module."""

    area: str
    module: str
    number: int
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.module}:{self.line} {self.text}"


def places(tree: ast.AST) -> Iterator[tuple[ast.AST, str, Callable[[], object]]]:
    """Yield each place that can be changed: the node, what is done, and a function that does it.

    Messages, annotations and docstrings are left out: no test needs to notice them.
    """
    skipped = _skipped(tree)
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARISONS:
            new = COMPARISONS[type(node.ops[0])]
            yield (
                node,
                f"{type(node.ops[0]).__name__} → {new.__name__}",
                lambda n=node, k=new: n.ops.__setitem__(0, k()),
            )
        elif isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
            new = ARITHMETIC[type(node.op)]
            yield node, f"{type(node.op).__name__} → {new.__name__}", lambda n=node, k=new: setattr(n, "op", k())
        elif isinstance(node, ast.BoolOp):
            new = ast.Or if isinstance(node.op, ast.And) else ast.And
            yield node, f"{type(node.op).__name__} → {new.__name__}", lambda n=node, k=new: setattr(n, "op", k())
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not):
            new = ast.UAdd() if isinstance(node.op, ast.USub) else None
            if new is not None:
                yield node, "-x → +x", lambda n=node, k=new: setattr(n, "op", k)
            else:
                yield (
                    node,
                    "not x → x",
                    lambda n=node: (
                        setattr(n, "op", ast.Not()),
                        setattr(n, "operand", ast.UnaryOp(ast.Not(), n.operand)),
                    ),
                )
        elif isinstance(node, ast.Constant) and type(node.value) in (int, float, bool):
            value = (
                (not node.value)
                if isinstance(node.value, bool)
                else node.value + 1
                if isinstance(node.value, int)
                else node.value * 1.5 or 0.5
            )
            yield node, f"{node.value} → {value}", lambda n=node, v=value: setattr(n, "value", v)
        elif isinstance(node, ast.Constant) and node.value in TEXTS:
            yield node, f"{node.value} → {TEXTS[node.value]}", lambda n=node: setattr(n, "value", TEXTS[n.value])
        elif isinstance(node, ast.Call):
            name = (
                node.func.attr
                if isinstance(node.func, ast.Attribute)
                else node.func.id
                if isinstance(node.func, ast.Name)
                else ""
            )
            if name in NAMES:
                part = "attr" if isinstance(node.func, ast.Attribute) else "id"
                if not (part == "id" and NAMES[name] in ("sum", "ceil", "floor")) or name == "round":
                    yield node, f"{name} → {NAMES[name]}", lambda n=node, p=part, k=NAMES[name]: setattr(n.func, p, k)
            elif (
                len(node.args) >= 2
                and not any(isinstance(each, ast.Starred) for each in node.args)
                and ast.dump(node.args[0]) != ast.dump(node.args[1])
            ):
                yield (
                    node,
                    f"{name}: first two arguments swapped",
                    lambda n=node: n.args.__setitem__(slice(0, 2), [n.args[1], n.args[0]]),
                )


def _skipped(tree: ast.AST) -> set[int]:
    """Return the ids of all nodes in annotations, docstrings, raised errors and decorators."""
    roots: list[ast.AST] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise | ast.JoinedStr | ast.Import | ast.ImportFrom | ast.Assert):
            roots.append(node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = [
                *node.args.posonlyargs,
                *node.args.args,
                *node.args.kwonlyargs,
                node.args.vararg,
                node.args.kwarg,
            ]
            roots += [each.annotation for each in arguments if each is not None and each.annotation is not None]
            roots += [node.returns] if node.returns is not None else []
            roots += node.decorator_list
        elif isinstance(node, ast.ClassDef):
            roots += node.decorator_list
        elif isinstance(node, ast.keyword) and node.arg == "strict":  # of zip
            roots.append(node)
        elif isinstance(node, ast.AnnAssign):
            roots.append(node.annotation)
        elif (
            isinstance(node, ast.Subscript)
            and isinstance(node.value, ast.Name)
            and node.value.id in ("NDArray", "Literal", "Callable")
        ):
            roots.append(node)
    return {id(inner) for root in roots for inner in ast.walk(root)}


def mutants_of(area: str, module: str) -> list[Mutant]:
    """Return all mutants of a module."""
    tree = ast.parse((ROOT / "src/tomostain" / module).read_text())
    return [
        Mutant(area, module, number, getattr(node, "lineno", 0), text)
        for number, (node, text, _) in enumerate(places(tree))
    ]


def mutated(mutant: Mutant) -> ast.Module:
    """Return the changed module."""
    tree = copy.deepcopy(ast.parse((ROOT / "src/tomostain" / mutant.module).read_text()))
    for number, (_, _, change) in enumerate(places(tree)):
        if number == mutant.number:
            change()
            return ast.fix_missing_locations(tree)
    raise IndexError(mutant)


class ChangedModule(importlib.abc.InspectLoader, importlib.abc.MetaPathFinder):
    """Finds one module, whose code is given; every other module is found as usual."""

    def __init__(self, name: str, code: CodeType, path: Path) -> None:
        self.name, self.code, self.path = name, code, path

    def find_spec(self, fullname: str, path: object = None, target: ModuleType | None = None) -> object:
        """Return the specification of the changed module."""
        if fullname != self.name:
            return None
        return importlib.util.spec_from_file_location(fullname, self.path, loader=self)

    def get_code(self, fullname: str) -> CodeType:
        """Return the changed code."""
        return self.code

    def get_source(self, fullname: str) -> str:
        """Return the unchanged source, for tracebacks."""
        return self.path.read_text()


def run_tests(tests: Sequence[str], changed: ChangedModule | None, place: Path, limits: Limits) -> Outcome:
    """Run test files in a fork, with one module changed."""

    def function() -> int:
        import pytest

        if changed is not None:
            sys.meta_path.insert(0, changed)
        os.chdir(ROOT)
        options = [
            "-x",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:faulthandler",
            "--no-header",
            "--tb=line",
            "-W",
            "ignore",
        ]
        return int(pytest.main([*options, *(str(ROOT / "tests" / test) for test in tests)]))

    place.mkdir(parents=True, exist_ok=True)
    return run_function(function, place, limits=limits)


def sample(count: int, seed: int, areas: Sequence[str]) -> list[Mutant]:
    """Return a sample with the same number from every area, as far as there are so many."""
    rng = np.random.default_rng(seed)
    by_area = {area: [mutant for module in TARGETS[area] for mutant in mutants_of(area, module)] for area in areas}
    shuffled = {area: [mutants[i] for i in rng.permutation(len(mutants))] for area, mutants in by_area.items()}
    chosen: list[Mutant] = []
    while len(chosen) < count and any(shuffled.values()):
        for area in areas:
            if shuffled[area] and len(chosen) < count:
                chosen.append(shuffled[area].pop())
    return chosen


def main() -> None:
    """Run the mutants and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--area", nargs="*", default=list(TARGETS), choices=list(TARGETS))
    parser.add_argument("--again", type=Path, help="what an earlier run printed: only the mutants that survived in it")
    parser.add_argument("--minutes", type=float, default=25, help="stop after so much processor time")
    arguments = parser.parse_args()
    for name in LIBRARIES:
        importlib.import_module(name)
    assert not any(name.startswith("tomostain") for name in sys.modules)
    place = arguments.out.resolve() / "work"
    tests = {
        module: tuple(test for test in targets if (ROOT / "tests" / test).is_file())
        for area in arguments.area
        for module, targets in TARGETS[area].items()
    }
    used = 0.0
    usual: dict[tuple[str, ...], float] = {}
    for files in dict.fromkeys(tests.values()) if arguments.again is None else ():
        outcome = run_tests(files, None, place, Limits(seconds=300, memory_bytes=1 << 33, address_bytes=1 << 34))
        used += outcome.seconds
        if outcome.code != 0:
            raise SystemExit(f"{files}: fail without a change\n{outcome.out[-2000:]}")
        usual[files] = outcome.seconds
    results: list[tuple[Mutant, str]] = []
    chosen = sample(arguments.count, arguments.seed, arguments.area)
    if arguments.again is not None:
        survivors = [
            line.split(maxsplit=1)[1] for line in arguments.again.read_text().splitlines() if line[:8] == "survived"
        ]
        every = (mutant for area in arguments.area for module in TARGETS[area] for mutant in mutants_of(area, module))
        chosen = [mutant for mutant in every if str(mutant) in survivors]
    for mutant in chosen:
        if used > 60 * arguments.minutes:
            break
        files = tests[mutant.module]
        name = "tomostain." + mutant.module.removesuffix(".py").replace("/", ".")
        path = ROOT / "src/tomostain" / mutant.module
        changed = ChangedModule(name, compile(mutated(mutant), str(path), "exec"), path)
        outcome = run_tests(files, changed, place, Limits(seconds=10 + 3 * usual.get(files, 60), address_bytes=1 << 33))
        used += outcome.seconds
        results.append((mutant, "survived" if outcome.code == 0 else "timed out" if outcome.code < 0 else "killed"))
        print(f"{results[-1][1]:10}{mutant}", flush=True)
    text = report(results, used)
    (arguments.out / "mutants.md").write_text(text)
    (arguments.out / "survivors.md").write_text(
        "\n".join(as_diff(mutant) for mutant, verdict in results if verdict == "survived")
    )
    print(text)


def as_diff(mutant: Mutant) -> str:
    """Return the change of a mutant as a diff."""
    path = ROOT / "src/tomostain" / mutant.module
    before, after = ast.unparse(ast.parse(path.read_text())), ast.unparse(mutated(mutant))
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=2)
    return f"## {mutant}\n\n```diff\n" + "\n".join(list(lines)[2:]) + "\n```\n"


def report(results: Sequence[tuple[Mutant, str]], seconds: float) -> str:
    """Return the kill rate by area."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    lines = [
        f"{len(results)} mutants, {seconds:.0f} s of processor time; {datetime.datetime.now():%Y-%m-%d}, "
        f"commit {commit}, Python {platform.python_version()}.",
        "",
        "| area | mutants | killed | timed out | survived | kill rate |",
        "|---|---|---|---|---|---|",
    ]
    for area in [*dict.fromkeys(mutant.area for mutant, _ in results), "all"]:
        count = Counter(verdict for mutant, verdict in results if area in (mutant.area, "all"))
        rate = 1 - count["survived"] / max(count.total(), 1)
        numbers = [count.total(), count["killed"], count["timed out"], count["survived"]]
        lines.append(f"| {area} | {' | '.join(map(str, numbers))} | {rate:.0%} |")
    lines += [
        "",
        "Survivors:",
        "",
        *(f"- {m}" for m, verdict in results if verdict == "survived"),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
