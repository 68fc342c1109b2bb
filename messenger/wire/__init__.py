"""Centrifuge client protocol v2, sans-I/O; knows nothing of the product."""
