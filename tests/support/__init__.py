"""Helpers shared by several test files: toy models, recipes, volumes, a distributed worker, a headless browser."""
