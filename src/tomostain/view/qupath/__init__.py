"""Sections of a stained volume for QuPath and Fiji: images on one pixel grid, and tissue classes as annotations."""
