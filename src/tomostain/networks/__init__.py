"""Networks: generators, discriminators, layers, the deformation field, and numerical precision."""
