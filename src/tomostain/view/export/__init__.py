"""Exports of stained volumes for other software."""
