"""Volume rendering: opacity, cameras, two renderers, fly-through films."""
