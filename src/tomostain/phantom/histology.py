"""The stained section of a specimen: light absorbed through a slab of tissue."""

from pydantic import Field

from tomostain.config import Config


class HistologyConfig(Config):
    """What the stained section is.

    Attributes
    ----------
    thickness_um : float
        Thickness of the ground section, µm (paper section 2.1: about 40).
    """

    thickness_um: float = Field(default=40.0, gt=0.0, le=500.0)
