"""Geometry: where a section lies in a volume, planes and curved surfaces. All coordinate arithmetic is here."""
