"""Normalization layers, each centring and scaling over other axes of a batch of activations."""
