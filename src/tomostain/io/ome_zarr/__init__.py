"""Stained volumes as OME-Zarr 0.5: reader, writer, pyramid, shards and metadata."""
