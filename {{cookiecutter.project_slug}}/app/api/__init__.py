"""The HTTP interface: one module for each resource, and `router`, which gathers them."""
