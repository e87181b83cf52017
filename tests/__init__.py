"""Tests of tomostain. A package, so that tests and studies can import `tests.support` from the root."""
