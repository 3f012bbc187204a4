"""Dropout that fits the activation in front of it.

Alpha dropout keeps mean 0 and variance 1. With q = 1 - p the share that is kept and a' = -scale * alpha, the lowest
value of SELU, what is dropped becomes a', and then everything becomes

    a x + b        a = 1 / sqrt(q + a'^2 q (1 - q))        b = -a (1 - q) a'

Source: Srivastava et al. 2014 (dropout, here inverted: scaled in training); Tompson et al. 2015, arXiv:1411.4280 (whole
maps); Klambauer et al. 2017, arXiv:1706.02515, section 3 (alpha dropout).
"""

from torch import nn

from trainwell.errors import OptionInvalid
from trainwell.layers.choosing import activation_traits


def dropout_for(activation: str, p: float, spatial_dims: int) -> nn.Module:
    """Return dropout for what comes out of an activation; nothing acts in evaluation.

    Args:
        activation: `NAME:key=value`; where its card asks for alpha dropout, that is returned.
        p: share that is dropped in training, in [0, 1); at 0 nothing is.
        spatial_dims: 0 drops single numbers of (N, C); 2 drops whole maps of (N, C, H, W), because neighbouring pixels
            say the same.

    Raises:
        OptionInvalid: p is no such share.

    >>> dropout_for("relu", 0.5, 0), dropout_for("selu", 0.1, 0)
    (Dropout(p=0.5, inplace=False), AlphaDropout(p=0.1, inplace=False))
    """
    if not 0 <= p < 1:
        raise OptionInvalid(
            f"dropout must be a share from 0 to below 1, got {p}: it is what is dropped, not what is kept"
        )
    if p == 0:
        return nn.Identity()
    is_alpha = activation_traits(activation).get("dropout") == "alpha"
    if spatial_dims == 0:
        return nn.AlphaDropout(p) if is_alpha else nn.Dropout(p)
    return nn.FeatureAlphaDropout(p) if is_alpha else nn.Dropout2d(p)
