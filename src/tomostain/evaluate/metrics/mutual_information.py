"""Mutual information of the stained image and the µCT from which it was made.

The metric does not need the real image to be aligned. It is high if the stained image shows what the µCT shows, and low
if the network invents tissue or removes it. A look-up table of grey values has the highest value, so read it together
with metrics of the colours.
"""

import numpy as np
from skimage.metrics import normalized_mutual_information

from tomostain.evaluate.metrics.base import ImageSample, register_metric
from tomostain.imaging.network_range import DISPLAY_WINDOW, ct_to_network

BINS = 64


@register_metric(
    "mutual_information", label="mutual information with the µCT", larger_is_better=True, digits=4, scope="image"
)
def mutual_information_of_sample(sample: ImageSample) -> float:
    """Normalised mutual information of the stained image's brightness and the µCT in the mask, 1 to 2.

    (H(A) + H(B)) / H(A, B) with the entropies of 64 grey values each (Studholme et al. 1999, Pattern Recognit. 32, 71).
    NaN if both images are constant.
    """
    inside = sample.mask.astype(bool)
    ct = sample.require_ct("mutual_information")
    grey = ct_to_network(ct.astype(np.float32), DISPLAY_WINDOW)[inside]
    bright = sample.stained[inside].mean(axis=1)
    if grey.size == 0 or (np.ptp(grey) == 0 and np.ptp(bright) == 0):
        return float("nan")
    return float(normalized_mutual_information(bright, grey, bins=BINS))
