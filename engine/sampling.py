"""Which token a request gets, decided by us inside vLLM's own sampling: replay and coupling.

`install(type(runner))` wraps `GPUModelRunner._sample` of vLLM's first model runner (0.26.0 to
0.32.0; the CPU runner inherits it). A request asks by `SamplingParams.extra_args`:

- ``longtail_replay: list[int]``: the g-th output token is the list's g-th, whatever the model says
  and whatever the temperature; after the list's end it is token 0. Set ``max_tokens`` to the list's
  length, and ``ignore_eos=True`` where an end of sequence stands inside the list.
- ``longtail_coupled: bool`` (or for all requests ``additional_config={"longtail": {"coupled":
  True}}``): the token is ``argmax(logits / T + noise)``, after penalties, top-k and top-p, with
  Gumbel noise that depends on `SamplingParams.seed`, the prompt, the position and the token id
  only (`engine/noise.py`). The distribution is that of ordinary sampling, but the text does not
  depend on drafts, batches or scheduling, up to the model's own rounding. Temperature 0 stays
  greedy, and a request without seed is sampled as always.

Verification is by equality: a draft is accepted if it is the token chosen for its position. vLLM's
pipeline runs in full and keeps its cost, except that these requests take part as if they had no
seed, since vLLM draws for seeded ones one by one; a replayed request adds next to nothing,
a coupled one the noise and, with top-k or top-p, a second application of those. We only overwrite
tokens, at three points: in `Sampler.sample` (replay: plain and bonus rows), in its top-k/top-p
sampler (coupling: the same rows) and in `rejection_sample` (both: draft rows). So logprobs, which
vLLM gathers afterwards, are those of the chosen tokens, and other requests in the batch are left
alone. A batch in which nobody asks goes straight to vLLM.

Positions are counted in the runner's `output_token_ids`, which holds a placeholder per token that
is still on its way: right with synchronous scheduling and, without speculation, with asynchronous
scheduling. Asynchronous scheduling with speculation guesses that count: wishes are left aside then.
A wish that cannot be met is said once and never stops the engine, which serves others, too.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from vllm.v1.sample import rejection_sampler
from vllm.v1.sample.ops import topk_topp_sampler

from . import noise
from .wrap import wrap_once

REPLAY, COUPLED = "longtail_replay", "longtail_coupled"
GREEDY_BELOW = 1e-5  # temperature, as in vLLM
AFTER_REPLAY = 0  # the token after a replayed list's end
NO_TOKEN = -1  # vLLM's placeholder after the last emitted token

logger = logging.getLogger(__name__)


def install(runner_class: type) -> None:
    """Make `runner_class` heed the requests' wishes; again does nothing."""
    if not hasattr(runner_class, "_sample"):
        raise RuntimeError(
            f"{runner_class.__module__}.{runner_class.__name__} has no _sample: replay and coupled "
            "sampling need vLLM's first model runner, set VLLM_USE_V2_MODEL_RUNNER=0"
        )
    wrap_once(runner_class, "_sample", _heedful)


def _heedful(original: Callable[..., Any]) -> Callable[..., Any]:
    def _sample(self: Any, logits: torch.Tensor, spec_decode_metadata: Any) -> Any:
        wishes = [_wish(self, req_id) for req_id in self.input_batch.req_ids]
        if spec_decode_metadata is not None and self.use_async_scheduling and any(wishes):
            _say_once(
                "replay and coupled sampling cannot count positions under asynchronous scheduling "
                "with speculation and are left out: set async_scheduling=False"
            )
            wishes = []
        if not any(wishes):
            return original(self, logits, spec_decode_metadata)
        with _deciding(self, Forward(self, wishes, spec_decode_metadata, logits.device)):
            return original(self, logits, spec_decode_metadata)

    return _sample


@dataclass(frozen=True)
class Replay:
    """A request whose tokens are given."""

    tokens: list[int]

    def at(self, start: int, count: int) -> list[int]:
        """The tokens at `count` output positions from `start` on."""
        given = self.tokens[start : start + count]
        missing = count - len(given)
        return given + [AFTER_REPLAY] * missing if missing else given


@dataclass(frozen=True)
class Coupled:
    """A request whose noise is given."""

    key: int


Wish = Replay | Coupled | None


def _wish(runner: Any, req_id: str) -> Wish:
    """What a request asks for, found out once and kept in the runner's record of the request."""
    state = runner.requests[req_id]
    try:
        return state.longtail_wish
    except AttributeError:
        state.longtail_wish = _read_wish(runner, state)
        return state.longtail_wish


def _read_wish(runner: Any, state: Any) -> Wish:
    params = state.sampling_params
    if params is None:  # a pooling request
        return None
    asked = params.extra_args or {}
    if asked.get(REPLAY) is not None:
        tokens, vocab = asked[REPLAY], runner.input_batch.vocab_size
        if isinstance(tokens, list | tuple) and all(
            type(token) is int and 0 <= token < vocab for token in tokens
        ):
            return Replay(list(tokens))
        _say_once(f"{REPLAY} takes a list of token ids from 0 to {vocab - 1}; others are left out")
        return None
    if not asked.get(COUPLED, _coupled_by_default(runner)) or params.temperature < GREEDY_BELOW:
        return None
    if params.seed is None:
        _say_once("requests without SamplingParams.seed are not coupled; vLLM samples them")
        return None
    return Coupled(noise.request_key(params.seed, state.prompt_token_ids or ()))


def _coupled_by_default(runner: Any) -> bool:
    config = runner.vllm_config.additional_config
    return isinstance(config, dict) and bool(config.get("longtail", {}).get("coupled"))


@functools.cache
def _say_once(what: str) -> None:
    logger.warning("longtail: %s", what)


class Rows:
    """The rows of some requests of a batch. A request has as many draft rows as drafts, and one
    more, its last: the plain or the bonus row. Vectors are over requests or over draft rows."""

    def __init__(self, requests: list[int], outputs: list[int], drafts: list[int]) -> None:
        self.requests = np.array(requests, np.int64)
        self.counts = np.array(drafts, np.int64)[self.requests]
        self.outputs = np.array(outputs, np.int64)[self.requests]
        starts = (np.cumsum(drafts) - drafts)[self.requests]
        shift = np.cumsum(self.counts) - self.counts
        nth = np.arange(self.counts.sum()) - np.repeat(shift, self.counts)
        self.draft_rows = np.repeat(starts, self.counts) + nth
        self.draft_positions = np.repeat(self.outputs, self.counts) + nth


@dataclass(frozen=True)
class Given:
    """What is given for some requests' rows: tokens, or keys of noise. On the logits' device."""

    requests: torch.Tensor
    draft_rows: torch.Tensor
    last: torch.Tensor
    drafts: torch.Tensor

    @classmethod
    def of(cls, rows: Rows, last: Any, drafts: Any, device: Any) -> Given:
        """All four in one transfer, which a GPU does not wait for."""
        parts = [np.asarray(p, np.int64) for p in (rows.requests, rows.draft_rows, last, drafts)]
        host = torch.from_numpy(np.concatenate(parts))
        moved = host.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else host
        return cls(*moved.split([len(part) for part in parts]))


class Forward:
    """The decisions of one forward: what is given, and the hooks that make it the outcome."""

    replayed: Given | None = None
    coupled: Given | None = None

    def __init__(self, runner: Any, wishes: list[Wish], metadata: Any, device: Any) -> None:
        batch = runner.input_batch
        outputs = [len(runner.requests[req_id].output_token_ids) for req_id in batch.req_ids]
        drafts = [0] * len(wishes) if metadata is None else metadata.num_draft_tokens
        replays = {i: wish for i, wish in enumerate(wishes) if isinstance(wish, Replay)}
        coupled = {i: wish for i, wish in enumerate(wishes) if isinstance(wish, Coupled)}
        for i in batch.generators.keys() & (replays.keys() | coupled.keys()):
            del batch.generators[i]  # its draws are overwritten: no random stream of its own
        if replays:
            rows = Rows(list(replays), outputs, drafts)
            tokens = [wish.at(outputs[i], drafts[i] + 1) for i, wish in replays.items()]
            last = [some.pop() for some in tokens]
            self.replayed = Given.of(rows, last, list(chain.from_iterable(tokens)), device)
        if coupled:
            rows = Rows(list(coupled), outputs, drafts)
            keys = np.array([wish.key for wish in coupled.values()], np.uint64)
            last_keys = noise.row_keys(keys, rows.outputs + rows.counts)
            draft_keys = noise.row_keys(np.repeat(keys, rows.counts), rows.draft_positions)
            self.coupled = Given.of(rows, last_keys, draft_keys, device)

    def sample(self, original: Any, *args: Any, **kwargs: Any) -> Any:
        """`Sampler.sample`: replayed tokens in plain and bonus rows, all greedy or not."""
        sampled, logprobs = original(*args, **kwargs)
        if self.replayed:
            sampled[self.replayed.requests] = self.replayed.last.to(sampled.dtype)
        return sampled, logprobs

    def top_k_top_p(
        self, original: Any, logits: torch.Tensor, generators: Any, k: Any, p: Any
    ) -> Any:
        """`TopKTopPSampler.forward`: coupled tokens in plain and bonus rows."""
        if not self.coupled:
            return original(logits, generators, k, p)
        rows = self.coupled.requests
        mine = logits[rows]  # a copy: the original may mask `logits` in place
        mine = topk_topp_sampler.apply_top_k_top_p(
            mine, None if k is None else k[rows], None if p is None else p[rows]
        )
        sampled, logprobs = original(logits, generators, k, p)
        sampled[rows] = noise.choose(mine, self.coupled.last).to(sampled.dtype)
        return sampled, logprobs

    def rejection_sample(self, original: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        """`rejection_sample`: accept the drafts that are the chosen tokens, up to the first other.

        Its target logits are through with penalties, temperature, top-k and top-p, and its bonus
        tokens with the hooks above.
        """
        output: torch.Tensor = original(*args, **kwargs)
        drafts, _, longest, ends, _, target_logits, bonus, *_ = args
        if not len(drafts):  # bonus tokens only, and those are chosen already
            return output
        chosen = drafts.to(torch.int64, copy=True)
        if self.replayed:
            chosen[self.replayed.draft_rows] = self.replayed.drafts
        if self.coupled:
            rows = self.coupled.draft_rows
            logits = target_logits if len(rows) == len(drafts) else target_logits[rows]
            chosen[rows] = noise.choose(logits, self.coupled.drafts)
        who = torch.cat([some.requests for some in (self.replayed, self.coupled) if some])
        counts = torch.diff(ends, prepend=ends.new_zeros(1))
        tokens = _verified(drafts, chosen, ends[who], counts[who], bonus[who], longest)
        output[who] = tokens.to(output.dtype)
        return output


def _verified(
    drafts: torch.Tensor,
    chosen: torch.Tensor,
    ends: torch.Tensor,
    counts: torch.Tensor,
    bonus: torch.Tensor,
    longest: int,
) -> torch.Tensor:
    """The emitted tokens [requests, longest + 1], with `NO_TOKEN` after the last.

    `drafts` and `chosen` are flat; a request has the `counts` rows before `ends`, and its `bonus`.
    """
    columns = torch.arange(longest + 1, device=drafts.device)[None]
    is_draft = columns < counts[:, None]
    flat = torch.where(is_draft, (ends - counts)[:, None] + columns, 0)
    tokens = torch.where(is_draft, chosen[flat], bonus)
    right = is_draft & (drafts[flat] == tokens)
    accepted = right.long().cumprod(dim=1).sum(dim=1, keepdim=True)
    return torch.where(columns <= accepted, tokens, NO_TOKEN)


@contextmanager
def _deciding(runner: Any, forward: Forward) -> Iterator[None]:
    """Put the forward's hooks into vLLM's sampling, and take them out again."""
    sampler = runner.sampler
    with ExitStack() as stack:
        for owner, name, hook in (
            (sampler, "sample", forward.sample),
            (sampler.topk_topp_sampler, "forward", forward.top_k_top_p),
            (rejection_sampler, "rejection_sample", forward.rejection_sample),
        ):
            wrapped = functools.partial(hook, getattr(owner, name))
            stack.enter_context(_replaced(owner, name, wrapped))
        yield


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Give `owner` another attribute for a while."""
    own = vars(owner).get(name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if own is None:
            delattr(owner, name)
        else:
            setattr(owner, name, own)
