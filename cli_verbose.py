"""`-v`: what a command reads and computes and how long it takes, a line each on standard error.

The lines are those of `logging`, by loggers that bear the names of the modules; a program that uses
longtail as a library gets them by its own handlers.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

STYLES = {logging.DEBUG: "dim", logging.INFO: "", logging.WARNING: "yellow", logging.ERROR: "red"}


class Lines(logging.Handler):
    """A line for each record: seconds since the command began, the module, the message.

    The console looks up `sys.stderr` anew each time: while a progress bar is shown, lines go above
    it. It leaves out styles off a terminal, and colours where NO_COLOR is set.
    """

    def __init__(self) -> None:
        from rich.console import Console

        super().__init__()
        self.began = time.time()
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)

    def emit(self, record: logging.LogRecord) -> None:
        """Write it."""
        from rich.text import Text

        seconds = max(record.created - self.began, 0)
        line = Text.assemble(
            (f"{seconds:7.2f} s  ", "dim"),
            (f"{record.name}  ", "cyan"),
            (record.getMessage(), STYLES.get(record.levelno, "")),
        )
        self.console.print(line)


@contextmanager
def say_what_is_done(times: int) -> Iterator[None]:
    """For the rest of this command: what is done (`times` 1), and in detail (2 or more)."""
    logger, handler = logging.getLogger("longtail"), Lines()
    before = logger.level
    logger.setLevel(logging.INFO if times == 1 else logging.DEBUG)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
