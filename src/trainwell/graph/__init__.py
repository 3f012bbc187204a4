"""Computational graphs: values, local and accumulated gradients, checked numerically."""
