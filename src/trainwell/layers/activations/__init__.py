"""Open shelf of activations: one family a file.

Each card declares, in the words of Python on one number `x` (with the names of its options, `i` for the index of the
channel, `Phi` and `phi` for distribution and density of the unit Gaussian):

    formula, derivative    what it computes, and its slope
    range                  (low, high) of what comes out, at the default options
    is_saturating          bounded on both sides, so that the slope vanishes far out whichever way
    is_zero_centred        its mean is 0 where x is unit Gaussian, over all channels
    can_die                its slope is exactly 0 on a whole half line: a unit that falls there learns no more
    cost                   of one number, in words
    gain                   what first weights behind it are drawn with, a number or a function of the options
    widens                 the option that says how many times wider the layer in front must be
    dropout                "alpha" where plain dropout would break what it keeps constant
"""
