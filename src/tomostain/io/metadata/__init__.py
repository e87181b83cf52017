"""What files state about a volume: units, voxel sizes, logs of reconstruction programs, NeXus layouts."""
