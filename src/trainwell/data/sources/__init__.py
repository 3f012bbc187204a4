"""The shelf of sources: each file reads labelled samples from one kind of place.

A source is a function `(location, *, options) -> Samples`, or one without `location` where it needs
no files. Its card declares `takes=` (the place, in words), `accepts=` (Path -> bool), optionally
`is_last_resort=True`, and `example=`: a function that makes a small example in an empty folder and
gives its location and options, which the contract suite tries.
"""
