"""The command line: `tomostain VERB …`. A verb parses its options and calls the stage of the same name."""

from tomostain.cli.main import app, main

__all__ = ["app", "main"]
