"""A batch, a plan and the rule's answer as addresses: what a rule is called with.

Passing some twenty arrays through a function pointer costs more than a forward's bookkeeping. So
they are passed as one array of integers, and a rule begins with

    batch, plan, budget = unpack(handles)

which costs nothing: the compiler sees through it. Whoever packs keeps the arrays alive.
"""

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic

from .batch import COUNTS, LABELS, LASTS, Batch, Plan
from .compiled import jit

_REQUESTS, _VALUES, _COLUMNS, _KNOWN, _FIRST = range(5)  # sizes, then where addresses begin


def pack(batch: Batch, plan: Plan, budget: np.ndarray) -> np.ndarray:
    """int64[*] for `unpack`: the plan has a row for each of the batch's requests."""
    rows, columns = plan.request.shape
    if not rows == len(budget) == len(batch.slots):
        raise ValueError(f"{rows} rows of a plan for {len(batch.slots)} requests")
    arrays = (*batch, plan.values, plan.request, budget)
    if any(not array.flags.c_contiguous for array in arrays):
        raise ValueError("an array is not contiguous")
    sizes = (len(budget), len(plan.values), columns, len(batch.labels))
    return np.array([*sizes, *(a.__array_interface__["data"][0] for a in arrays)], np.int64)


@intrinsic
def _pointer(context, address):
    """An integer as a pointer."""

    def generate(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())

    return types.voidptr(types.int64), generate


@jit(inner=True)
def _ints(handles, i):
    return carray(_pointer(handles[_FIRST + i]), handles[_REQUESTS], np.int32)


@jit(inner=True)
def unpack(handles):
    """(batch, plan, budget) again."""
    n, at = handles[_REQUESTS], _FIRST
    batch = Batch(
        _ints(handles, 0),
        _ints(handles, 1),
        _ints(handles, 2),
        _ints(handles, 3),
        _ints(handles, 4),
        _ints(handles, 5),
        _ints(handles, 6),
        _ints(handles, 7),
        _ints(handles, 8),
        _ints(handles, 9),
        carray(_pointer(handles[at + 10]), n, np.int64),
        carray(_pointer(handles[at + 11]), handles[_KNOWN], np.uint8),
        carray(_pointer(handles[at + 12]), LABELS, np.float64),
        carray(_pointer(handles[at + 13]), LASTS, np.int64),
        carray(_pointer(handles[at + 14]), COUNTS, np.int64),
    )
    plan = Plan(
        carray(_pointer(handles[at + 15]), handles[_VALUES], np.float64),
        carray(_pointer(handles[at + 16]), (n, handles[_COLUMNS]), np.float64),
    )
    return batch, plan, _ints(handles, 17)
