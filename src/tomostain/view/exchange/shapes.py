"""The inputs and the output of an exported model: their names and sizes."""

from dataclasses import dataclass

CT, NOISE, HISTOLOGY = "ct", "noise", "histology"
"""The names of the inputs and of the output."""


@dataclass(frozen=True)
class GraphShapes:
    """The sizes that a graph takes. The batch is any number.

    Attributes
    ----------
    slices : int
        Channels of the input `CT`: neighbouring slices of the µCT, with the stained one in the middle.
    noise_channels : int
        Channels of the input `NOISE`; 0: there is no such input.
    multiple : int
        Rows and columns must be multiples of this, px.
    minimum : int
        Minimum rows and columns, px. A multiple of `multiple`.
    """

    slices: int
    noise_channels: int
    multiple: int
    minimum: int

    def fitting(self, side: int) -> int:
        """Return the smallest allowed number of rows or columns that is not less than `side`."""
        return max(-(-side // self.multiple) * self.multiple, self.minimum)
