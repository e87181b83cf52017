"""What a fused layer computes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LayerPlan:
    """What a fused layer computes, in this order.

    Attributes
    ----------
    eps : float or None
        Instance normalisation with this ε; None: no normalisation.
    slope : float
        Of the leaky ReLU; 0: ReLU, 1: no activation.
    up : int
        Enlarge by this factor, nearest neighbour: 1 or 2.
    pad : int
        Reflection padding, px.
    plain : bool
        Also return the result without enlarging and padding.
    """

    eps: float | None = None
    slope: float = 1.0
    up: int = 1
    pad: int = 0
    plain: bool = False
