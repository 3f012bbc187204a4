"""The shelf of optimizers, with the groups they work on and the averages of what they reach."""
