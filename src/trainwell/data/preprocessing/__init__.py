"""Brings inputs to a common scale before the network: fitted on the train split once, then frozen."""
