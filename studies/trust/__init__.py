"""Harnesses that try to break the package: hostile inputs, kills, mutants."""
