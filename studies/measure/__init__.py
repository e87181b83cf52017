"""Measures of bone-implant specimens: agreement with the truth of phantoms (RECORD.md)."""
