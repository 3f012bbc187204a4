"""Nouns that every other part shares; this floor imports nothing of ours but `errors`."""
