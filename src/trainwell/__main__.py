"""`python -m trainwell` is the command line."""

from trainwell.cli import main

main()
