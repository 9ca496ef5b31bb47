"""`python -m longtail`."""

from .cli import main

main()
