"""Undo and redo of poses."""

from tomostain.geometry.plane_pose import PlanePose

_MAX_POSES = 500


class PoseHistory:
    """The poses that a person has set, with a position in their order.

    Parameters
    ----------
    first : PlanePose
        The pose that `reset` returns to.

    Examples
    --------
    >>> history = PoseHistory(PlanePose())
    >>> history.push(PlanePose(turn_deg=5.0))
    >>> history.undo().turn_deg, history.redo().turn_deg
    (0.0, 5.0)
    """

    def __init__(self, first: PlanePose) -> None:
        self._poses, self._position = [first], 0
        self.first = first

    @property
    def current(self) -> PlanePose:
        """The pose at the position."""
        return self._poses[self._position]

    @property
    def can_undo(self) -> bool:
        """Whether there is an earlier pose."""
        return self._position > 0

    @property
    def can_redo(self) -> bool:
        """Whether a pose was undone."""
        return self._position < len(self._poses) - 1

    def push(self, pose: PlanePose) -> None:
        """Add a pose after the current one. Those that were undone are forgotten."""
        if pose != self.current:
            self._poses = [*self._poses[: self._position + 1], pose][-_MAX_POSES:]
            self._position = len(self._poses) - 1

    def undo(self) -> PlanePose:
        """Go back to the earlier pose, if there is one, and return it."""
        self._position = max(0, self._position - 1)
        return self.current

    def redo(self) -> PlanePose:
        """Go to the pose that was undone, if there is one, and return it."""
        self._position = min(len(self._poses) - 1, self._position + 1)
        return self.current

    def reset(self) -> PlanePose:
        """Add the first pose, and return it. `undo` returns from it."""
        self.push(self.first)
        return self.current
