"""Functions of two coordinates that show what an optimizer does, and the paths that optimizers take on them."""
