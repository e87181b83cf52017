"""Geometry of sections in a volume: planes, curved surfaces, interpolation. All coordinate transforms are here."""
