"""Figures of a source tree: size, parameters, types and repeated blocks.

    python -m studies.architecture.figures [src/tomostain] [ANOTHER …]

Prints a table with a column for each tree. `Any` is counted by ruff (rule ANN401), so it needs ruff on the PATH or next
to the running Python.
"""

import argparse
import ast
import json
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

# Functions with at least this number of parameters, without `self` and `cls`, are counted.
MANY = 8
# Length of a repeated block: consecutive code lines, without blank lines and comments, that occur twice.
BLOCK = 6


def files_of(source: Path) -> list[Path]:
    """Return the Python files of a tree."""
    return sorted(path for path in source.rglob("*.py") if "__pycache__" not in path.parts)


def functions_with_many_parameters(source: Path, many: int = MANY) -> list[tuple[str, str, int]]:
    """Return file, name and number of parameters of the functions with `many` parameters or more."""
    functions = []
    for path in files_of(source):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                names = [argument.arg for argument in arguments if argument.arg not in ("self", "cls")]
                if len(names) >= many:
                    functions.append((str(path.relative_to(source)), node.name, len(names)))
    return sorted(functions, key=lambda row: -row[2])


def any_in_signatures(source: Path) -> int:
    """Return how many parameters and results are annotated with `Any`."""
    near = Path(sys.executable).with_name("ruff")
    ruff = str(near) if near.exists() else shutil.which("ruff")
    if ruff is None:
        raise SystemExit("ruff is not installed")
    command = [ruff, "check", "--isolated", "--select", "ANN401", "--output-format", "json", str(source)]
    return len(json.loads(subprocess.run(command, capture_output=True, text=True, check=False).stdout))


def code_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield number and text of the lines of a file that are neither blank, comments, imports nor docstrings."""
    text = path.read_text(encoding="utf-8")
    ignored: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        is_text = (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        )
        if is_text or isinstance(node, ast.Import | ast.ImportFrom):
            ignored.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    for number, line in enumerate(text.splitlines(), 1):
        content = line.strip()
        if content and not content.startswith("#") and number not in ignored:
            yield number, content


def repeated_blocks(source: Path, length: int = BLOCK) -> int:
    """Return how many blocks of `length` code lines occur more than once; overlapping blocks count once."""
    positions: dict[tuple[str, ...], list[tuple[Path, int]]] = defaultdict(list)
    for path in files_of(source):
        lines = list(code_lines(path))
        for start in range(len(lines) - length + 1):
            positions[tuple(text for _, text in lines[start : start + length])].append((path, start))
    repeated = sorted({position for group in positions.values() if len(group) > 1 for position in group})
    return sum(1 for n, (path, start) in enumerate(repeated) if n == 0 or repeated[n - 1] != (path, start - 1))


def packages(source: Path) -> Counter[str]:
    """Return how many files each package has; modules of the root are counted as ``.``."""
    parts = [path.relative_to(source).parts for path in files_of(source)]
    return Counter(part[0] if len(part) > 1 else "." for part in parts)


def figures(source: Path) -> dict[str, str]:
    """Return the figures of one tree by name."""
    sizes = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files_of(source)}
    total, longest = sum(sizes.values()), max(sizes, key=lambda path: sizes[path])
    many, anys = functions_with_many_parameters(source), any_in_signatures(source)
    counts = packages(source)
    in_folder = Counter(path.parent for path in sizes)
    largest = max(in_folder, key=lambda folder: in_folder[folder])
    return {
        "lines of source": f"{total:,}",
        "files": f"{len(sizes)}",
        "packages": f"{len(counts) - 1}",
        "files per package": ", ".join(f"{name} {number}" for name, number in sorted(counts.items()) if name != "."),
        "maximum of files in one folder": f"{in_folder[largest]} ({largest.relative_to(source)})",
        "longest file": f"{sizes[longest]} ({longest.relative_to(source)})",
        "files over 300 lines": f"{sum(size > 300 for size in sizes.values())}",
        f"functions with {MANY} or more parameters": f"{len(many)}",
        "of these, Triton programs": f"{sum(file.endswith('_programs.py') for file, *_ in many)}",
        "of these, verbs of the command line": f"{sum(file.startswith('cli/') for file, *_ in many)}",
        "`Any` in signatures": f"{anys}",
        "`Any` per 1,000 lines": f"{1000 * anys / total:.1f}",
        f"repeated blocks of {BLOCK} lines": f"{repeated_blocks(source)}",
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", type=Path, nargs="*", default=[Path("src/tomostain")])
    parser.add_argument("--functions", action="store_true", help="also list the functions with many parameters")
    options = parser.parse_args()
    figures_of = {str(source): figures(source) for source in options.sources}
    print("| | " + " | ".join(figures_of) + " |\n|---" + "|---" * len(figures_of) + "|")
    for name in next(iter(figures_of.values())):
        print(f"| {name} | " + " | ".join(values[name] for values in figures_of.values()) + " |")
    if options.functions:
        for source in options.sources:
            for file, name, number in functions_with_many_parameters(source):
                print(f"{number} {file}:{name}")


if __name__ == "__main__":
    main()
