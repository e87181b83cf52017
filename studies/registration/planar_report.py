"""Tables of `planar_reliability`: the former and the present confidence against right and wrong.

    python -m studies.registration.planar_report OUT.jsonl

The present confidence is computed from the numbers of each line, so it follows `tomostain.register.planar_confidence`.
Specimens with an even number set the centre of the margin (calibration), those with an odd number test it. Specimens
from `FRESH` on were registered after the rule was set.
"""

import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import stats

from tomostain.register.planar_confidence import planar_confidence, right_within_um

BINS = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
# Pixel and largest size of the sections of the first lines, which did not record them.
PIXEL_UM, SIZE_UM = 20.0, 7000.0
SURE = 0.5
FRESH = 14
Row = dict[str, object]


def number_of(row: Row) -> int:
    """Return the number of the specimen."""
    return int(str(row["specimen"])[1:])


SETS: dict[str, Callable[[Row], bool]] = {
    "calibration, even": lambda row: number_of(row) < FRESH and number_of(row) % 2 == 0,
    "test, odd": lambda row: number_of(row) < FRESH and number_of(row) % 2 == 1,
    "test, registered later": lambda row: number_of(row) >= FRESH,
    "all": lambda row: True,
}


def _number(row: Row, name: str, default: float = 0.0) -> float:
    return float(str(row.get(name, default)))


def present_confidence(row: Row) -> float:
    """Return the confidence by the present rule."""
    votes = row["held_out_edges_um"] is not None
    agreeing, distinct = (int(_number(row, name)) if votes else 0 for name in ("agreeing_blocks", "distinct_blocks"))
    return planar_confidence(
        agreeing,
        distinct,
        chance=_number(row, "chance"),
        metrics_differ_um=_number(row, "metrics_differ_um"),
        tolerance_um=right_within_um(_number(row, "pixel_um", PIXEL_UM), _number(row, "size_um", SIZE_UM)),
        margin=_number(row, "margin"),
    )


def present_sure(row: Row) -> bool:
    """Whether the present rule calls the registration sure."""
    return row["held_out_edges_um"] is not None and present_confidence(row) >= SURE


def former_confidence(row: Row) -> float:
    """Return the confidence before the rule was changed, which the line records."""
    return _number(row, "former_confidence")


def former_sure(row: Row) -> bool:
    """Whether the former rule called the registration sure."""
    return former_confidence(row) >= SURE


def _has_former(rows: list[Row]) -> bool:
    return bool(rows) and all("former_confidence" in row for row in rows)


def _wilson(successes: int, count: int) -> str:
    """Return a share with its 95 % interval (Wilson 1927, J. Am. Stat. Assoc. 22, 209)."""
    if not count:
        return "–"
    interval = stats.binomtest(successes, count).proportion_ci(method="wilson")
    return f"{successes / count:.2f} ({interval.low:.2f}–{interval.high:.2f})"


def _table(head: str, rows: list[list[object]]) -> list[str]:
    columns = head.count("|") + 1
    return ["| " + head + " |", "|" + "---|" * columns, *("| " + " | ".join(map(str, row)) + " |" for row in rows), ""]


def decisions(rows: list[Row]) -> list[list[object]]:
    """Return for each set and rule: pairs, right, sure, right and sure, wrong and sure, and the share of right."""
    lines: list[list[object]] = []
    for name, belongs in SETS.items():
        mine = [row for row in rows if belongs(row)]
        if not mine:
            continue
        for rule, is_sure in (("former", former_sure), ("present", present_sure)):
            if rule == "former" and not _has_former(mine):
                continue
            sure = [row for row in mine if is_sure(row)]
            right = sum(bool(row["right"]) for row in sure)
            others = sum("other specimen" in str(row["variant"]) for row in sure)
            total = sum(bool(row["right"]) for row in mine)
            lines.append(
                [name, rule, len(mine), total, len(sure), right, len(sure) - right, others, _wilson(right, len(sure))]
            )
    return lines


def reliability(rows: list[Row], confidence: Callable[[Row], float]) -> list[list[object]]:
    """Return for each bin of the confidence: pairs, right, and the share of right."""
    lines: list[list[object]] = []
    for low, high in itertools.pairwise(BINS):
        mine = [row for row in rows if low <= confidence(row) < high or high == confidence(row) == 1.0]
        right = sum(bool(row["right"]) for row in mine)
        lines.append([f"{low:g} to {high:g}", len(mine), right, _wilson(right, len(mine))])
    return lines


def by_variant(rows: list[Row]) -> list[list[object]]:
    """Return for each variant: pairs, right, and how many each rule calls sure, and the error."""
    lines: list[list[object]] = []
    for variant in dict.fromkeys(str(row["variant"]) for row in rows):
        mine = [row for row in rows if row["variant"] == variant]
        right = [row for row in mine if row["right"]]
        wrong = [row for row in mine if not row["right"]]
        counts = [sum(map(rule, part)) for rule in (former_sure, present_sure) for part in (right, wrong)]
        errors = [_number(row, "error_px") for row in right]
        lines.append([variant, len(mine), len(right), *counts, f"{np.median(errors):.2f}" if errors else "–"])
    return lines


def report(path: Path) -> str:
    """Return the tables."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if "refused" not in row]
    head = "set | rule | pairs | right | sure | right and sure | wrong and sure | of these, another specimen | "
    lines = _table(head + "share right of the sure", decisions(rows))
    head = "variant | pairs | right | former: right and sure | wrong and sure | present: right and sure | "
    head += "wrong and sure | median error of the right ones / px"
    lines += _table(head, by_variant(rows))
    tested = [row for row in rows if not SETS["calibration, even"](row)]
    for name, some in (("all", rows), ("test only", tested)):
        for rule, confidence in (("former", former_confidence), ("present", present_confidence)):
            if rule == "former" and not _has_former(some):
                continue
            head = f"confidence, {rule}, {name} | pairs | right | share right"
            lines += _table(head, reliability(some, confidence))
    return "\n".join(lines)


if __name__ == "__main__":
    print(report(Path(sys.argv[1])))
