"""What a file or folder is, and whether it is complete and undamaged."""

from tomostain.inspection.check import Inspection, check_against, check_path

__all__ = ["Inspection", "check_against", "check_path"]
