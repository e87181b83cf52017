"""What the tests of the widget Register share: waiting, distances, names and keys."""

import numpy as np

from tomostain.register.preview import seen_in_volume_um


def ends(widget, qtbot):
    """Return a context that waits for the task of the widget."""
    return qtbot.waitSignal(widget.task.finished, timeout=120_000)


def distance_um(widget, truth):
    """Return the median distance of slide points from where they are."""
    points = np.random.default_rng(0).uniform(800, 3500, (50, 2))
    places = [seen_in_volume_um(section, points) for section in (widget.section, truth)]
    return np.median(np.linalg.norm(places[0] - places[1], axis=1))


def names(viewer):
    return [layer.name for layer in viewer.layers if layer.visible]


def bound_key(viewer, key):
    from napari.utils.key_bindings import coerce_keybinding

    return coerce_keybinding(key)
