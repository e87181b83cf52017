"""Image processing without files: normalisation of µCT and histology, regions, grids, correspondence masks."""
