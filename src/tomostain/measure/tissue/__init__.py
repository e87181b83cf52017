"""From colour or µCT to tissue classes."""
