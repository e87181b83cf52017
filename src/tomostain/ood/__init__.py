"""Out-of-distribution detection: does a scan look like those that a model was trained on?"""
