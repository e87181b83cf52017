"""What the beamline makes of a specimen: raw µCT grey values."""

from tomostain.config import Config


class TomographyConfig(Config):
    """What the instrument does."""
