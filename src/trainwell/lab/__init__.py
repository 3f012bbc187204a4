"""Claims about training as experiments with a measured verdict."""
