"""Hostile and broken input files, and the answers of every verb that reads them."""
