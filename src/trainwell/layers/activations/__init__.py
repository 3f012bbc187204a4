"""Open shelf of activations: one family a file."""
