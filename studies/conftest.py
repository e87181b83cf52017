"""Some studies compare with other software. Where it is not installed, their doctests are not collected."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("SimpleITK") else ["jaw/run.py", "registration/itk.py"]
