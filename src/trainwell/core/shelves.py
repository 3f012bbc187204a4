"""The shelves there are, each with the package whose modules fill it.

A member never stands here: adding one is writing one file in the shelf's package.
"""

from trainwell.core.catalog import Catalog

sources = Catalog("source", "trainwell.data.sources", member="labelled samples from one kind of place")
preprocessings = Catalog("preprocessing", "trainwell.data.preprocessing", member="fit(train images) once, then apply")
augmentations = Catalog("augmentation", "trainwell.data.augmentation", member="(Batch, chance) -> Batch, batched")
models = Catalog("model", "trainwell.models", member="(in_channels, num_classes, ...) -> Module giving (N, K)")
activations = Catalog("activation", "trainwell.layers.activations", member="a module: tensor -> same shape")
norms = Catalog("norm", "trainwell.layers.normalization", member="a module: (N, C) or (N, C, H, W) -> same shape")
initializations = Catalog("initialization", "trainwell.initialization", member="fills weights, in place")
losses = Catalog("loss", "trainwell.losses", member="(logits (N, K), targets) -> (N,)")
optimizers = Catalog("optimizer", "trainwell.optimizers", member="a torch.optim.Optimizer")
schedules = Catalog("schedule", "trainwell.schedules", member="total_steps -> (step -> multiplier of lr)")
penalties = Catalog("penalty", "trainwell.regularization", member="model -> what is added to the loss")
probes = Catalog("probe", "trainwell.probes", member="measure(State) -> Readings; looks, never touches")

experiments = Catalog("experiment", "trainwell.lab.experiments", member="a question with arms, seeds and a verdict")

SHELVES = {
    shelf.kind: shelf
    for shelf in (
        sources,
        preprocessings,
        augmentations,
        models,
        activations,
        norms,
        initializations,
        losses,
        optimizers,
        schedules,
        penalties,
        probes,
        experiments,
    )
}
