"""Stage: view."""
