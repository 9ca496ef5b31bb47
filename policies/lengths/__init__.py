"""How much a request has yet to generate, as far as anybody can know. One file a predictor.

A predictor says which lengths a request may still come to have, and how likely each of them is. It
is a component (`plan` makes of a StepView what it knows when an RL step begins) and a compiled
function, one of those between which `ahead.py` chooses:

    function(known, row, finished, running, generated, cap, length, weight) -> how many

In: known, float64[POOL + M], the plan's values: its KIND, its options and everybody's lengths; row,
float64[C], the plan's row of the request: how many lengths follow, and these; finished and running,
float64: how long the siblings became that are over, and how far those have got that are not;
generated and cap, tokens of the request itself. Out: length and weight, its possible lengths, each
above `generated`. Where there are none, everybody's lengths speak.

What an engine does not know is not here, but for `oracle`, which no engine is given.
"""

from ..registry import Registry

PREDICTORS = Registry("length predictor", "longtail.policies.lengths")
