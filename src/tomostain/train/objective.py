"""The objective: the weighted sum of the terms of a recipe over one training step."""

from collections.abc import Mapping

from torch import Tensor

from tomostain.train.step import Networks, Step
from tomostain.train.terms import TERMS, Term, find_term, register_term

__all__ = ["TERMS", "Networks", "Step", "Term", "compute_terms", "find_term", "register_term", "weighted_sum"]


def compute_terms(step: Step, weights: Mapping[str, float]) -> dict[str, Tensor]:
    """Return each term whose weight is not zero, unweighted; the others are not computed."""
    return {name: find_term(name).compute(step) for name, weight in weights.items() if weight}


def weighted_sum(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Return Σ weight · term: eq. (4), (7) or (10), depending on the weights."""
    parts = [weights[name] * term for name, term in terms.items()]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
