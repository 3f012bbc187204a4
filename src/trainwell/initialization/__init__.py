"""Open shelf of initial weights: schemes, data-dependent ones, and those for residual networks."""
