"""The command line: thin verbs, each calls one function of the library and prints what it returns."""

from trainwell.cli.main import app, main

__all__ = ["app", "main"]
