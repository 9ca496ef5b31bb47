"""A list of RL steps on the command line."""

from __future__ import annotations

from typing import Any

import click


class Steps(click.ParamType):
    """RL steps as `1,3..5`."""

    name = "steps"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """A list of ints, ascending ranges written out; a YAML list may hold either."""
        if isinstance(value, list):
            return [step for part in value for step in self.convert(part, param, ctx)]
        if isinstance(value, int):
            return [value]
        steps: list[int] = []
        for part in str(value).split(","):
            first, dots, last = part.partition("..")
            try:
                span = range(int(first), int(last if dots else first) + 1)
            except ValueError:
                span = range(0)
            if not span:
                self.fail(f"'{value}' is not a list of RL steps such as 1,3..5", param, ctx)
            steps += span
        return steps
