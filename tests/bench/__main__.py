"""`make bench`: every performance claim, each beside a floor or a rival in one run."""

from . import drafter, drafters, dump, index, live, loop, memory

loop.main()
drafter.main()
index.main()
drafters.main()
memory.main()
dump.main()
live.main()
