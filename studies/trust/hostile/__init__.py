"""Hostile and broken input files: what every verb that reads them answers."""
