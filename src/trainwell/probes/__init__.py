"""Instruments that look at a step and never touch it; each turns what it sees into Readings."""
