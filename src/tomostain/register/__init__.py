"""2D–3D registration (paper section 2.3): where a slide's section lies in a volume."""

from tomostain.geometry.section import Section, grid_um, resample_slide, sample_volume, slices_needed

__all__ = ["Section", "grid_um", "resample_slide", "sample_volume", "slices_needed"]
