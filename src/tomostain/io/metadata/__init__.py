"""Metadata of volumes: units, voxel sizes, logs of reconstruction programs, and NeXus layouts."""
