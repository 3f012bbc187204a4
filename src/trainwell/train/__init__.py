"""From a recipe to trained weights: building, the loop, evaluation, checkpoints and the run folder."""
