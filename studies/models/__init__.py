"""Training of the models that the package ships, and what pre-training is worth."""
