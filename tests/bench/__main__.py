"""`make bench`: every performance claim of the README, each beside a floor or a rival in one run."""

from . import drafter, loop, memory

loop.main()
drafter.main()
memory.main()
