"""Metrics: per patch, per image, per volume."""
