"""The grey values that training references distinguish. Those of stored models were measured with these limits."""

GREY_LIMITS = (0.0, 40_000.0)
"""Values outside are clipped, whatever the window of a model's networks is: two metals are equally unlike tissue."""
