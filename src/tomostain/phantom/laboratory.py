"""What the laboratory does to a section before it is a slide."""

from tomostain.config import Config


class LaboratoryConfig(Config):
    """What the laboratory does."""
