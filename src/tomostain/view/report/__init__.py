"""Reports: one HTML page that needs no other file."""
