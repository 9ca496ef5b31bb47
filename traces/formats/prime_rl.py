"""prime-rl: `traces.jsonl` of its file monitor, one verifiers Episode per line.

A trace is a graph of messages, each with the token ids that it adds; a path from a root to a leaf
is what one context saw, and its sampled tokens (mask) are what the model wrote. Where a later path
shares sampled messages with an earlier one they are part of its prompt.
"""

from __future__ import annotations

from typing import Any

from ..gaps import SEVERAL_VERSIONS
from .format import PACKED, Format, Raw, Reading, Rows, same
from .masked import prompt_and_output

NO_IDS = "{n} contexts hold no token ids that the policy wrote (failed or relayed) and are left out"
#: Paths may hold so many times the tokens of their graph, or so many in all, and no more.
MAX_SHARED = 32
FREE_SHARED = 1 << 20
FROZEN = "{n} traces of agents that are not trained are left out"


def _unfold(raw: Raw, reading: Reading) -> Rows:
    span = raw.get("run.work.policy", dict) or {}
    reading.told[SEVERAL_VERSIONS] += span.get("start") != span.get("end")
    shared = {
        "id": raw.get("id"),
        "env": raw.get("env.id"),
        "task": raw.get("task.key"),
        "step": raw.get("run.work.step") if raw.step is None else raw.step,
        "policy_version": span.get("start"),
    }
    for trace in raw.parts("traces"):
        if trace.get("agent.trainable") is False:
            reading.told[FROZEN] += 1
            continue
        nodes = list(trace.parts("nodes"))
        calls = {call.get("node"): call for call in trace.parts("calls") if _is_index(call)}
        taken: set[int] = set()
        for path in _paths(trace, nodes):
            tokens = _tokens(trace, reading, [(nodes[i], i in taken) for i in path])
            if tokens is None:
                reading.told[NO_IDS] += 1
                continue
            last = next((calls[i] for i in reversed(path) if i in calls), None)
            taken.update(path)
            finish = last.get("finish_reason") if last else None
            yield {**shared, **tokens, "reward": _reward(trace), "finish_reason": finish}


def _is_index(call: Raw) -> bool:
    return isinstance(call.values.get("node"), int)


def _paths(trace: Raw, nodes: list[Raw]) -> list[list[int]]:
    """Root-to-leaf paths, as indices, leaf by leaf.

    Raises TraceError where they share so much that they are many times the graph.
    """
    parents = [node.get("parent", int) for node in nodes]
    sizes = [1 + len(node.get("token_ids", list) or ()) for node in nodes]
    limit = max(MAX_SHARED * sum(sizes), FREE_SHARED)
    for i, parent in enumerate(parents):
        if parent is not None and not 0 <= parent < i:
            raise trace.error(f"node {i} has the parent {parent}, which does not come before it")
    paths, inner, walked = [], set(parents), 0
    for leaf in range(len(nodes)):
        if leaf in inner:
            continue
        path = [leaf]
        while (parent := parents[path[-1]]) is not None:
            path.append(parent)
        walked += sum(sizes[i] for i in path)
        if walked > limit:
            raise trace.error(f"over {leaf} paths share most of their messages")
        paths.append(path[::-1])
    return paths


def _tokens(trace: Raw, reading: Reading, path: list[tuple[Raw, bool]]) -> dict[str, Any] | None:
    """The path's tokens; those of messages that an earlier path wrote are prompt."""
    ids: list[Any] = []
    mask: list[Any] = []
    for node, taken in path:
        node_ids, node_mask = node.get("token_ids", list) or [], node.get("mask", list) or []
        if len(node_ids) != len(node_mask):
            raise node.error(f"{len(node_ids)} token_ids and {len(node_mask)} values in mask")
        ids += node_ids
        mask += [False] * len(node_mask) if taken else node_mask
    tokens = prompt_and_output(trace, reading, ids, mask)
    return tokens if tokens and tokens["prompt_tokens"] else None


def _reward(trace: Raw) -> float | None:
    """The weighted sum of a trace's rewards."""
    total = None
    for reward in (trace.get("rewards", dict) or {}).values():
        if reward is None:
            continue
        one = trace.within(reward, "a reward")
        score, weight = one.real("score"), one.real("weight")
        total = (total or 0.0) + (score or 0.0) * (1.0 if weight is None else weight)
    return total


PRIME_RL = Format(
    name="prime-rl",
    about="prime-rl's traces.jsonl: verifiers Episodes with token ids per message.",
    source="PrimeIntellect-ai/prime-rl@559b447 src/prime_rl/monitors/file.py; "
    "PrimeIntellect-ai/verifiers@a60a606 verifiers/v1/episode.py, trace.py, graph.py",
    looks='step_<n>/train/../traces.jsonl of {"task": {..}, "run": {..}, "traces": [{"nodes": '
    '[{"parent": null, "token_ids": [..], "mask": [..]}], "calls": [..], "rewards": {..}}]}',
    kind="jsonl",
    marks=(frozenset({"task", "traces"}),),
    path=r".*/step_(?P<step>\d+)/(?:[^/]+/)*traces\.jsonl" + PACKED,
    skip=r"/(?:eval|effective)/",
    fields={
        **same("prompt_tokens", "output_tokens", "finish_reason", "policy_version", "reward"),
        "rl_step": "step",
    },
    unfold=_unfold,
    unknown=("times between the turns of a rollout", "token ids of relayed calls"),
)
