"""Fast CPU kernels: the same layers with fewer multiplications. `accelerate` puts them into a network."""
