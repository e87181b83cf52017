"""Draw the imports between the packages of tomostain, from the code, as docs/contributing/architecture.svg.

    python docs/contributing/draw_architecture.py [--check]

The packages stand in the order of the layers in pyproject.toml. An arc on the right joins a package with each package
that it imports; every import counts, also one inside a function. With --check nothing is written, and the exit code is
1 if the picture is not that of the code.
"""

import argparse
import ast
import sys
import tomllib
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "tomostain"
PICTURE = Path(__file__).with_name("architecture.svg")
# The single modules at the bottom, which nearly every package imports. They are one box without arcs.
BASE = "base"
ROW, BOX_WIDTH, BOX_HEIGHT, TOP, LEFT, WIDTH = 46, 150, 30, 44, 20, 800
COLOURS = ("#4e79a7", "#b5651d", "#b03a48", "#3c8d87", "#3d8b37", "#8a6d00", "#8e5a8a", "#c05a72", "#7d5a46", "#6b6b6b")


def layers() -> list[list[str]]:
    """Return the layers of the import contract, highest first."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    contract = next(contract for contract in settings["contracts"] if contract["id"] == "layers")
    return [[name.strip() for name in layer.split("|")] for layer in contract["layers"]]


def split_layers() -> tuple[list[list[str]], list[str]]:
    """Return the layers down to the lowest package, and the single modules below."""
    every = layers()
    lowest = max(number for number, layer in enumerate(every) if any((SOURCE / name).is_dir() for name in layer))
    return every[: lowest + 1], [name for layer in every[lowest + 1 :] for name in layer]


def imports() -> Counter[tuple[str, str]]:
    """Return how many imports there are from one package to another."""
    found: Counter[tuple[str, str]] = Counter()
    drawn = {name for layer in split_layers()[0] for name in layer}
    for path in sorted(SOURCE.rglob("*.py")):
        importer = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            for name in names:
                parts = name.split(".")
                imported = parts[1] if parts[0] == "tomostain" and len(parts) > 1 else ""
                if imported != importer and drawn >= {importer, imported}:
                    found[importer, imported] += 1
    return found


def box(name: str, x: float, y: float, colour: str) -> str:
    """Return a box with a name."""
    return (
        f'<g id="package-{name}"><rect x="{x}" y="{y}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="5" fill="#fff" '
        f'stroke="{colour}" stroke-width="2"/><text x="{x + BOX_WIDTH / 2}" y="{y + 21}" text-anchor="middle">{name}'
        "</text></g>"
    )


def picture() -> str:
    """Return the drawing."""
    bands, modules = split_layers()
    names = [name for band in bands for name in band]
    edges = imports()
    top = {name: TOP + ROW * number for number, name in enumerate(names)}
    colour = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(names)}
    height = TOP + ROW * len(names) + 90
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="15">',
        "<title>Imports between the packages of tomostain</title>",
        "<style>.edge{fill:none;stroke-opacity:.55}.edge:hover{stroke-opacity:1;stroke-width:5}</style>",
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="{LEFT}" y="24" fill="#555" font-size="13">Each package imports only from packages in lower bands. '
        "An arc leaves the importing package at its dot.</text>",
    ]
    for number, band in enumerate(bands):
        y = top[band[0]] - (ROW - BOX_HEIGHT) / 2
        shade = "#f2f2f5" if number % 2 else "#fafafc"
        parts.append(
            f'<rect x="{LEFT - 10}" y="{y}" width="{BOX_WIDTH + 20}" height="{ROW * len(band)}" fill="{shade}"/>'
        )
    right = LEFT + BOX_WIDTH
    for (importer, imported), count in sorted(edges.items()):
        # The ends of the arcs are spread over the side of the box, the longest at the outside.
        start, end = top[importer] + BOX_HEIGHT / 2 + 5, top[imported] + BOX_HEIGHT / 2 - 5
        reach = right + 30 + 0.85 * abs(end - start)
        parts.append(
            f'<path id="edge-{importer}-{imported}" class="edge" stroke="{colour[importer]}" '
            f'stroke-width="{1 + min(count, 30) / 12:.1f}" d="M{right},{start} C{reach:.0f},{start} {reach:.0f},{end} '
            f'{right},{end}"><title>{importer} imports {imported}: {count}</title></path>'
        )
    for name in names:
        parts.append(box(name, LEFT, top[name], colour[name]))
        if any(importer == name for importer, _ in edges):
            parts.append(f'<circle cx="{right}" cy="{top[name] + BOX_HEIGHT / 2 + 5}" r="3.5" fill="{colour[name]}"/>')
    y = TOP + ROW * len(names) + 8
    parts.append(
        f'<g id="package-{BASE}"><rect x="{LEFT}" y="{y}" width="{WIDTH - 2 * LEFT}" height="56" rx="5" fill="#fafafc" '
        f'stroke="#999"/><text x="{LEFT + 12}" y="{y + 23}">{", ".join(modules)}</text>'
        f'<text x="{LEFT + 12}" y="{y + 44}" fill="#555" font-size="13">single modules; any package may import them, '
        "and these imports are not drawn</text></g>"
    )
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> None:
    """Draw, or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare the picture with the code and write nothing")
    if parser.parse_args().check:
        current = PICTURE.read_text(encoding="utf-8") if PICTURE.exists() else ""
        sys.exit(0 if current == picture() else "architecture.svg is out of date: run this script without --check")
    PICTURE.write_text(picture(), encoding="utf-8")


if __name__ == "__main__":
    main()
