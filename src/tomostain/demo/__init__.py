"""The demo: the whole pipeline on phantoms, ending in one page."""

import lazy_loader

# Attributes are imported when they are used: `tomostain demo --dry-run` needs no torch.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "config": ["DemoConfig", "DemoSpecimen"],
        "plan": ["describe_plan"],
        "run": ["DemoResult", "run_demo"],
        "stages": ["Stage", "StageNotice", "plan_stages"],
        "truth": ["Margin", "TruthSlices", "compare_slices", "evaluate_against_truth", "margins", "verdict"],
    },
)
