"""Ablation of the training recipe."""
