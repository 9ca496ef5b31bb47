"""Suffix drafts against arctic-inference's SuffixDecodingCache, token for token.

Where two continuations were seen equally often, the rule leaves the choice open, and arctic's is
by the order of a sibling list: the one that got to a count last comes first there only if it was
the first of those it left. So a difference is allowed where both drafts are picks of the rule under
some resolution of the ties, which is decided by counting strings, and nowhere else.
"""

from __future__ import annotations

import gzip
import json
import random
from collections import Counter as Counter_
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from brute_drafts import Texts
from small_workloads import Rollout, repetitive_text, workload_of
from tokenizers import Tokenizer

from longtail.policies.drafters.suffix import Suffix
from longtail.policies.drafts import Drafts

decoding = pytest.importorskip(
    "arctic_inference.suffix_decoding", reason="arctic-inference is not installed"
)

SHARED = Path(__file__).parents[2].parent / "shared"
TRACE = SHARED / "traces" / "rg_llama3b_rl_aime_amc.jsonl.gz"
TOKENIZER = SHARED / "tokenizers" / "qwen2" / "tokenizer.json"
END_TOKEN = 151643
DRAFTER = Suffix(scope="both", depth=24, factor=1.0, min_prob=0.1, max=16)
MOST_BRANCHES = 10_000
SEPARATOR = chr(0x10FFFF)

Pick = tuple[float, tuple[int, ...]]  # score, draft


class Counter:
    """How often strings occur in some texts, found with str.find."""

    def __init__(self, texts: Texts) -> None:
        self._text = SEPARATOR.join("".join(map(chr, text)) for text in texts) + SEPARATOR
        self.continuations = cache(self._continuations)

    def _continuations(self, s: str) -> tuple[int, dict[str, int]]:
        count, after, at = 0, dict[str, int](), self._text.find(s)
        while at >= 0:
            count += 1
            token = self._text[at + len(s)]
            if token != SEPARATOR:
                after[token] = after.get(token, 0) + 1
            at = self._text.find(s, at + 1)
        return count, after


class Rule:
    """Everything that SuffixDecoding's rule may pick at one place, over all resolutions of ties."""

    def __init__(self, context: list[int], counter: Counter, drafter: Suffix) -> None:
        self._counter, self._drafter = counter, drafter
        self.picks: dict[int, set[Pick]] = {}  # by length of the match
        text = "".join(map(chr, context))
        for m in range(1, min(drafter.depth, len(context) + 1)):
            s = text[len(text) - m :]
            if not counter.continuations(s)[0]:
                break
            room = min(drafter.max, drafter.depth - m, int(np.float32(m * drafter.factor) + 1e-6))
            self.picks[m] = set(self._walk(s, m, np.float32(1), np.float32(0), room))
            assert len(self.picks[m]) < MOST_BRANCHES

    def _walk(
        self, s: str, m: int, prob: np.float32, score: np.float32, room: int
    ) -> Iterator[Pick]:
        count, after = self._counter.continuations(s)
        top = max(after.values(), default=0)
        prob = prob * np.float32(top / count)
        if len(s) - m == room or top == 0 or prob < np.float32(self._drafter.min_prob):
            yield float(score), tuple(map(ord, s[m:]))
            return
        for token in after:
            if after[token] == top:
                yield from self._walk(s + token, m, prob, score + prob, room)

    @property
    def least(self) -> float:
        """The score that the best draft has at least."""
        return max((min(picks)[0] for picks in self.picks.values()), default=0.0)

    def may_pick(self, draft: tuple[int, ...], at_least: float, above: float) -> bool:
        """Whether some resolution of the ties makes `draft` the pick, with a score in bounds."""
        least = {m: min(picks)[0] for m, picks in self.picks.items()}
        return any(
            pick == draft
            and score >= at_least
            and score > above
            and all(low < score if longer > m else low <= score for longer, low in least.items())
            for m, picks in self.picks.items()
            for score, pick in picks
        )

    @property
    def tied(self) -> bool:
        return any(len(picks) > 1 for picks in self.picks.values())


def explained(drafts: list[list[int]], own: Rule, problem: Rule) -> bool:
    """Whether all drafts are picks; equal scores go to own text."""

    def valid(draft: tuple[int, ...]) -> bool:
        if not draft:
            return own.least == problem.least == 0.0
        return own.may_pick(draft, problem.least, 0.0) or problem.may_pick(draft, 0.0, own.least)

    return (own.tied or problem.tied) and all(valid(tuple(draft)) for draft in drafts)


@dataclass
class Tally:
    positions: int = 0
    differences: int = 0  # other tokens
    felt: int = 0  # of which: drafts of another length, or with another number of them accepted

    def __str__(self) -> str:
        return (
            f"{self.positions} drafts compared; {self.differences} differ, all where counts tie, "
            f"{self.felt} of them in length or in tokens accepted"
        )


def tokens(values: list[int]) -> np.ndarray:
    return np.array(values, np.int32)


def outcome(draft: list[int], left: list[int]) -> tuple[int, int]:
    same = [a == b for a, b in zip(draft, left, strict=False)] + [False]
    return len(draft), same.index(False)


def replayed(
    drafter: Suffix, past: Texts, rollouts: list[Rollout]
) -> Iterator[tuple[int, int, list[int], Drafts, Any]]:
    """One problem, `rollouts` of RL step 1, each alone, with `past` as history: at every position
    g of rollout i its text so far, our draft, and arctic's answer.
    """
    theirs = decoding.SuffixDecodingCache(max_tree_depth=drafter.depth)
    ours = drafter.live()
    ours.start_step(0)
    prompt = rollouts[0].prompt
    for i, output in enumerate(past):
        theirs.start_request(-1 - i, tokens(prompt))
        theirs.add_active_response(-1 - i, tokens(output))
        theirs.stop_request(-1 - i)
        ours.begin(-1 - i, 0, tokens(prompt))
        ours.extend([-1 - i], [tokens(output)])
        ours.finish(-1 - i)
    ours.start_step(1)
    for i, rollout in enumerate(rollouts):
        theirs.start_request(i, tokens(rollout.prompt))
        theirs.evict_cached_response(i)  # what it writes enters its own tree only
        ours.begin(i, 0, tokens(rollout.prompt))
        text = rollout.prompt.copy()
        for g in range(1, len(rollout.output)):
            text.append(rollout.output[g - 1])
            theirs.add_active_response(i, tokens(text[-1:]))
            ours.extend([i], [tokens(text[-1:])])
            answer = theirs.speculate(
                i,
                tokens(text[-drafter.depth :]),
                max_spec_tokens=drafter.max,
                max_spec_factor=drafter.factor,
                min_token_prob=drafter.min_prob,
                use_tree_spec=drafter.trees,
            )
            yield i, g, text, ours.draft([i]), answer
        theirs.stop_request(i)
        ours.finish(i)


def compare(drafter: Suffix, past: Texts, rollouts: list[Rollout], tally: Tally) -> None:
    """Equal drafts, but for ties; and as long as the profile's."""
    history, prompt = Counter(past), rollouts[0].prompt
    load = workload_of([*(Rollout(0, 0, prompt, output) for output in past), *rollouts])
    profile = load.profile(drafter).part(len(past), len(past) + len(rollouts))
    for i, g, text, drafts, answer in replayed(drafter, past, rollouts):
        draft, expected, output = drafts[0].tolist(), answer.token_ids, rollouts[i].output
        assert profile.drafted[profile.offsets[i] + g] == len(draft)
        tally.positions += 1
        if draft != expected:
            tally.differences += 1
            tally.felt += outcome(draft, output[g:]) != outcome(expected, output[g:])
            own, problem = Rule(text, Counter([text]), drafter), Rule(output[:g], history, drafter)
            assert explained([draft, expected], own, problem), (i, g, draft, expected)


def recorded(problems: int) -> Iterator[tuple[list[int], Texts, Texts]]:
    """(prompt, outputs at step_400, outputs at step_800) of the first problems, tokenised."""
    rows: dict[str, list[dict[str, Any]]] = {}
    with gzip.open(TRACE, "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            if row["problem_id"] in rows or len(rows) < problems:
                rows.setdefault(row["problem_id"], []).append(row)
    tokenizer = Tokenizer.from_file(str(TOKENIZER))

    def outputs(chosen: list[dict[str, Any]], step: str) -> Texts:
        mine = [row for row in chosen if row["epoch_or_checkpoint"] == step]
        texts = [row["output"] for row in mine]
        return [
            [*text.ids, *([END_TOKEN] if row["finish_reason"] == "stop" else [])]
            for row, text in zip(
                mine, tokenizer.encode_batch(texts, add_special_tokens=False), strict=True
            )
        ]

    for chosen in rows.values():
        prompt = tokenizer.encode(chosen[0]["prompt"], add_special_tokens=False).ids
        yield prompt, outputs(chosen, "step_400"), outputs(chosen, "step_800")


@pytest.mark.shared
@pytest.mark.skipif(
    not (TRACE.is_file() and TOKENIZER.is_file()), reason="no recorded traces beside the checkout"
)
def test_recorded_rollouts(record_property: Any) -> None:
    """200 rollouts, 4 problems, the checkpoint before as history."""
    tally = Tally()
    rollouts = 0
    for prompt, past, now in recorded(4):
        rollouts += len(now)
        compare(DRAFTER, past, [Rollout(1, 0, prompt, output) for output in now], tally)
    print(tally)
    record_property("differences", str(tally))
    assert rollouts == 200
    assert tally.felt < 0.005 * tally.positions
    assert tally.differences < 0.01 * tally.positions


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_random_texts(scale: int) -> None:
    """Few distinct tokens, so that counts tie."""
    rng, tally = random.Random(scale), Tally()
    for _ in range(40):
        alphabet = rng.randint(2, 3 * scale)
        drafter = Suffix(
            scope="both",
            depth=rng.randint(3, 12),
            factor=rng.choice([0.5, 1.0, 2.0]),
            min_prob=rng.choice([0.1, 0.3, 0.6]),
            max=rng.randint(1, 8),
        )
        prompt = repetitive_text(rng, rng.randint(1, 20), alphabet)
        past = [
            repetitive_text(rng, rng.randint(1, 40), alphabet) for _ in range(rng.randint(0, 4))
        ]
        rollouts = [
            Rollout(1, 0, prompt, repetitive_text(rng, rng.randint(1, 60), alphabet))
            for _ in range(2)
        ]
        compare(drafter, past, rollouts, tally)
    print(tally)
    assert tally.differences < 0.01 * tally.positions


def test_match_across_the_prompt() -> None:
    """Arctic matches history with what stands before the draft, the prompt's end included."""
    rollout = Rollout(1, 0, [9, 1], [2, 3, 4, 5])
    compare(DRAFTER, [[1, 2, 3, 4, 5]], [rollout], Tally())


def paths_of(nodes: list[int], parents: list[int]) -> list[tuple[int, ...]]:
    """Every node of a tree as the tokens that lead to it."""
    paths: list[tuple[int, ...]] = []
    for token, parent in zip(nodes, parents, strict=True):
        paths.append((*(paths[parent] if parent >= 0 else ()), token))
    return paths


def reach(paths: list[tuple[int, ...]], left: list[int]) -> int:
    """How many tokens of what follows a tree has."""
    known, good = set(paths), 0
    while good < len(left) and tuple(left[: good + 1]) in known:
        good += 1
    return good


def compare_trees(drafter: Suffix, past: Texts, rollouts: list[Rollout], tally: Counter_) -> None:
    """As compare(), for drafts that branch without limit: the same paths but for ties."""
    for i, g, _, drafts, answer in replayed(drafter, past, rollouts):
        mine = paths_of(drafts[0].tolist(), drafts.parents[0, : drafts.sizes[0]].tolist())
        other = paths_of(answer.token_ids, answer.parents)
        tally["positions"] += 1
        tally["same"] += sorted(mine) == sorted(other)
        tally["ours"] += reach(mine, rollouts[i].output[g:])
        tally["theirs"] += reach(other, rollouts[i].output[g:])
        tally["nodes"] += len(mine)
        tally["their nodes"] += len(other)


def test_trees_of_random_texts() -> None:
    """Some strings tie in almost every draft here, and any of them may be drafted."""
    rng, tally = random.Random(0), Counter_()
    for _ in range(60):
        alphabet = rng.randint(3, 12)
        drafter = Suffix(depth=12, factor=3.0, min_prob=0.15, max=rng.randint(2, 8), paths=128)
        prompt = repetitive_text(rng, rng.randint(1, 20), alphabet)
        past = [repetitive_text(rng, rng.randint(1, 60), alphabet) for _ in range(3)]
        rollouts = [Rollout(1, 0, prompt, repetitive_text(rng, 60, alphabet)) for _ in range(2)]
        compare_trees(drafter, past, rollouts, tally)
    print(tally)
    assert tally["same"] > 0.8 * tally["positions"]
    assert tally["ours"] > 0.99 * tally["theirs"]
    assert abs(tally["nodes"] - tally["their nodes"]) < 0.03 * tally["nodes"]


@pytest.mark.shared
@pytest.mark.skipif(
    not (TRACE.is_file() and TOKENIZER.is_file()), reason="no recorded traces beside the checkout"
)
def test_trees_of_recorded_rollouts() -> None:
    tally = Counter_()
    drafter = Suffix(depth=24, factor=4.0, min_prob=0.1, max=32, paths=128)
    for prompt, past, now in recorded(2):
        compare_trees(drafter, past, [Rollout(1, 0, prompt, output) for output in now[:12]], tally)
    print(tally)
    assert tally["same"] > 0.75 * tally["positions"]
    assert tally["ours"] > 0.99 * tally["theirs"]
