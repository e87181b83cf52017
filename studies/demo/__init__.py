"""The demo: processor time of each stage, and the search of its registration."""
