"""`python -m app.embedded`: the embedded upstream alone."""

from app.embedded.cli import main

main()
