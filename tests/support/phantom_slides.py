"""The slide of a phantom without its µCT volume, which takes most of the time."""

from tomostain.phantom import PhantomConfig, PhantomSlide, grow_anatomy, make_slide, section_through_screw


def phantom_slide(config: PhantomConfig) -> PhantomSlide:
    """Return the slide that `write_specimen` writes, with its labels."""
    anatomy = grow_anatomy(config)
    return make_slide(anatomy, *section_through_screw(config, anatomy.pose))
