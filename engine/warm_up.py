"""What a policy compiles, compiled before the engine's first forward."""

from __future__ import annotations

from .live import LivePolicy
from .settings import LiveSettings


def warm_up(settings: LiveSettings, vocab_size: int) -> None:
    """Compile what the policy will need, so that no forward waits for it: two little RL steps of a
    policy that is then dropped. What fails here will fail, and be told, where it is needed.
    """
    policy = LivePolicy(settings, vocab_size, lambda message: None)
    text = [0, 1, 0, 1]
    for rl_step in (1, 2, 3):
        policy.start_step(rl_step)
        for name in ("a", "b"):
            policy.arrive(name, text, cap=8, prompt_id="p")
        policy.propose([], 2, 0, 0)
        policy.gained(["a", "b"], [text[:1]] * 2, [0, 0], [0, 0])
        for token in text[1:]:
            policy.propose(["a", "b"], 0, 0, 10)
            policy.gained(["a", "b"], [[token]] * 2, [0, 0], [0, 0])
        for name in ("a", "b"):
            policy.leave(name, text)
