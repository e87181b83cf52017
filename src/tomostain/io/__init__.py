"""Stage: io."""
