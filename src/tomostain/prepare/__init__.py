"""Stage: prepare."""
