"""Tiling: the tile grid, blending, exact tiles, and the slice context of 2.5D networks."""
