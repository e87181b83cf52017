"""Datasets on disk: pairs, folds, reading and writing (paper section 2.4)."""
