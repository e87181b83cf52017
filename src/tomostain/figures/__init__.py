"""Figures that several stages draw: planes with scale bars, images side by side, training curves."""
