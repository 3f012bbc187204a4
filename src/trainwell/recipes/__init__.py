"""Recipes that were proved on many data sets: what is chosen where the user leaves it open."""
