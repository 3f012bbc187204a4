"""Open shelf of experiments: one question a file."""
