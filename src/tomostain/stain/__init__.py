"""Stage: stain."""
