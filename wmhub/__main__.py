"""``python -m wmhub`` is the command line."""

from wmhub.cli import main

main()
