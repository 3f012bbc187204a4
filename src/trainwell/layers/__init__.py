"""Layers usable alone in plain PyTorch: activations, normalization, dropout, reparametrized weights."""
