"""What came of experiments, for people: on the terminal, as one page, as tables in Markdown."""
