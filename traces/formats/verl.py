"""verl: `trainer.rollout_data_dir` (and `validation_data_dir`), one JSONL file per step."""

from .format import PACKED, STRIPPED_TEXT, Format

VERL = Format(
    name="verl",
    about="verl's rollout_data_dir: <step>.jsonl with input, output, gts, score, step.",
    source="verl-project/verl@1dda039 verl/trainer/ppo/ray_trainer.py, _write_generations",
    looks='<step>.jsonl of {"input": text, "output": text, "gts": .., "score": 1.0, "step": 7}',
    kind="jsonl",
    marks=(frozenset({"input", "output", "score"}),),
    path=r"(?:^|/)(?P<step>\d+)\.jsonl" + PACKED,
    skip=r"/(?:eval|val|validation)(?:[_-][^/]*)?/",  # written alike, and named as the user likes
    fields={"prompt": "input", "output": "output", "reward": "score", "rl_step": "step"},
    unknown=STRIPPED_TEXT,
)
