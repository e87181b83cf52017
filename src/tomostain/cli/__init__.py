"""The command line: `tomostain VERB …`. Each verb is thin; the work is done by the stage of the same name."""

from tomostain.cli.main import app, main

__all__ = ["app", "main"]
