"""The names and shapes in the state dicts of torchvision's networks, written down from its documented structure.

Each function returns name -> shape, in no order, for 3 channels and 1000 classes. The number of entries that published
files hold (122 for ResNet-18, 320 for ResNet-50, 727 for DenseNet-121, 32 for VGG-16, 16 for AlexNet) is what they must
come to. They were compared with torchvision 0.28, which the tests do not need; to do that anew:

    python bench/architectures_equal.py             in the environment that its first lines describe

or look at one net: `{k: tuple(v.shape) for k, v in torchvision.models.vgg16(weights=None).state_dict().items()}`.
"""

Shapes = dict[str, tuple[int, ...]]

RESNETS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
DENSENETS = {
    121: (32, (6, 12, 24, 16)),
    161: (48, (6, 12, 36, 24)),
    169: (32, (6, 12, 32, 32)),
    201: (32, (6, 12, 48, 32)),
}
INCEPTIONS = {  # in, 1x1, 3x3 reduced, 3x3, "5x5" reduced, "5x5", behind the maximum
    "3a": (192, 64, 96, 128, 16, 32, 32),
    "3b": (256, 128, 128, 192, 32, 96, 64),
    "4a": (480, 192, 96, 208, 16, 48, 64),
    "4b": (512, 160, 112, 224, 24, 64, 64),
    "4c": (512, 128, 128, 256, 24, 64, 64),
    "4d": (512, 112, 144, 288, 32, 64, 64),
    "4e": (528, 256, 160, 320, 32, 128, 128),
    "5a": (832, 256, 160, 320, 32, 128, 128),
    "5b": (832, 384, 192, 384, 48, 128, 128),
}


def norm(name: str, channels: int) -> Shapes:
    """A batch norm."""
    vectors = {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}
    return {**vectors, f"{name}.num_batches_tracked": ()}


def dense(name: str, inputs: int, outputs: int) -> Shapes:
    """A dense layer."""
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def resnet(depth: int, width_per_group: int = 64) -> Shapes:
    """`resnet18` to `resnet152`, and `wide_resnet50_2` and `wide_resnet101_2` with 128."""
    names: Shapes = {"conv1.weight": (64, 3, 7, 7), **norm("bn1", 64)}
    expansion, channels = 4 if depth >= 50 else 1, 64
    for stage, count in enumerate(RESNETS[depth]):
        planes = 64 * 2**stage
        inner, out = planes * width_per_group // 64, planes * expansion
        for unit in range(count):
            at = f"layer{stage + 1}.{unit}"
            if expansion == 4:
                kernels = ((inner, channels, 1), (inner, inner, 3), (out, inner, 1))
            else:
                kernels = ((planes, channels, 3), (planes, planes, 3))
            for place, (outputs, inputs, side) in enumerate(kernels, 1):
                names[f"{at}.conv{place}.weight"] = (outputs, inputs, side, side)
                names |= norm(f"{at}.bn{place}", outputs)
            if unit == 0 and (stage > 0 or channels != out):
                names[f"{at}.downsample.0.weight"] = (out, channels, 1, 1)
                names |= norm(f"{at}.downsample.1", out)
            channels = out
    return names | dense("fc", channels, 1000)


def densenet(depth: int) -> Shapes:
    """`densenet121` to `densenet201`."""
    growth, blocks = DENSENETS[depth]
    channels = 2 * growth
    names: Shapes = {"features.conv0.weight": (channels, 3, 7, 7), **norm("features.norm0", channels)}
    for block, count in enumerate(blocks, 1):
        for layer in range(1, count + 1):
            at = f"features.denseblock{block}.denselayer{layer}"
            names |= norm(f"{at}.norm1", channels) | norm(f"{at}.norm2", 4 * growth)
            names[f"{at}.conv1.weight"] = (4 * growth, channels, 1, 1)
            names[f"{at}.conv2.weight"] = (growth, 4 * growth, 3, 3)
            channels += growth
        if block < len(blocks):
            at = f"features.transition{block}"
            names |= norm(f"{at}.norm", channels)
            names[f"{at}.conv.weight"] = (channels // 2, channels, 1, 1)
            channels //= 2
    return names | norm("features.norm5", channels) | dense("classifier", channels, 1000)


def basic_conv(name: str, inputs: int, outputs: int, side: int) -> Shapes:
    """GoogLeNet's convolution with its norm."""
    return {f"{name}.conv.weight": (outputs, inputs, side, side), **norm(f"{name}.bn", outputs)}


def googlenet() -> Shapes:
    """`googlenet` with its auxiliary classifiers, whose third branch has 3x3 kernels where the paper has 5x5."""
    names = basic_conv("conv1", 3, 64, 7) | basic_conv("conv2", 64, 64, 1) | basic_conv("conv3", 64, 192, 3)
    for module, (inputs, one, reduced, three, reduced_large, large, behind) in INCEPTIONS.items():
        at = f"inception{module}"
        names |= basic_conv(f"{at}.branch1", inputs, one, 1)
        names |= basic_conv(f"{at}.branch2.0", inputs, reduced, 1) | basic_conv(f"{at}.branch2.1", reduced, three, 3)
        names |= basic_conv(f"{at}.branch3.0", inputs, reduced_large, 1)
        names |= basic_conv(f"{at}.branch3.1", reduced_large, large, 3)
        names |= basic_conv(f"{at}.branch4.1", inputs, behind, 1)
    for auxiliary, inputs in (("aux1", 512), ("aux2", 528)):
        names |= basic_conv(f"{auxiliary}.conv", inputs, 128, 1)
        names |= dense(f"{auxiliary}.fc1", 2048, 1024) | dense(f"{auxiliary}.fc2", 1024, 1000)
    return names | dense("fc", 1024, 1000)


def vgg16() -> Shapes:
    """`vgg16`: convolutions, ReLUs and maxima are counted in `features`, dense layers, ReLUs and dropout behind."""
    names: Shapes = {}
    place, channels = 0, 3
    for width in (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"):
        if isinstance(width, str):
            place += 1
            continue
        names |= {f"features.{place}.weight": (width, channels, 3, 3), f"features.{place}.bias": (width,)}
        place, channels = place + 2, width
    return (
        names
        | dense("classifier.0", 512 * 49, 4096)
        | dense("classifier.3", 4096, 4096)
        | dense("classifier.6", 4096, 1000)
    )


def alexnet() -> Shapes:
    """`alexnet`, with dropout in front of its dense layers."""
    names: Shapes = {}
    kernels = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}
    for place, (outputs, inputs, side) in kernels.items():
        names |= {f"features.{place}.weight": (outputs, inputs, side, side), f"features.{place}.bias": (outputs,)}
    return (
        names
        | dense("classifier.1", 256 * 36, 4096)
        | dense("classifier.4", 4096, 4096)
        | dense("classifier.6", 4096, 1000)
    )
