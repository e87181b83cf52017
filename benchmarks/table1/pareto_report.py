"""x"""
from pathlib import Path


def report(folder: Path, to: Path, plot: Path) -> None:
    pass
