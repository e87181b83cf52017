"""Measures of the shape and amount of tissue, from labels."""
