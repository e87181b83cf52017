"""Networks: generators, discriminators, the deformation field, their specifications, and numerical precision.

To add a generator, see docs/how-to/add-a-generator.md.
"""

from tomostain.networks import deformation, discriminators, efficient, generators  # noqa: F401  (registers them)
from tomostain.networks.base import Discriminator, DiscriminatorSpec, Generator, GeneratorSpec, Network, NetworkSpec
from tomostain.networks.build import build_network
from tomostain.networks.cost import count_multiply_adds, count_parameters
from tomostain.networks.registry import (
    network_names,
    parse_discriminator_spec,
    parse_generator_spec,
    parse_spec,
    register_deformation,
    register_discriminator,
    register_generator,
)
from tomostain.networks.tile_invariance import is_tile_invariant

__all__ = [
    "Discriminator",
    "DiscriminatorSpec",
    "Generator",
    "GeneratorSpec",
    "Network",
    "NetworkSpec",
    "build_network",
    "count_multiply_adds",
    "count_parameters",
    "is_tile_invariant",
    "network_names",
    "parse_discriminator_spec",
    "parse_generator_spec",
    "parse_spec",
    "register_deformation",
    "register_discriminator",
    "register_generator",
]
