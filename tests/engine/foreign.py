"""A program without a word of longtail's settings: it starts vLLM as its authors would.

    python foreign.py MODEL ORDERS.json

Orders are rounds; each is {"say": an RL step or null, "prompts": [...], "params": {...}}. Printed
as one line: the texts of each round, and what the engine says of the policy.
"""

import json
import os
import sys

from vllm import LLM, SamplingParams

if __name__ == "__main__":
    llm = LLM(
        model=sys.argv[1],
        dtype="float32",
        enforce_eager=True,
        gpu_memory_utilization=0.3,
        max_model_len=256,
        seed=0,
    )
    texts = []
    with open(sys.argv[2]) as file:
        orders = json.load(file)
    for order in orders:
        if order["say"] is not None and "LONGTAIL_POLICY" in os.environ:  # a trainer's one line
            llm.collective_rpc("longtail_start_step", args=(order["say"],))
        params = SamplingParams(**order["params"])
        prompts = [{"prompt_token_ids": prompt} for prompt in order["prompts"]]
        outputs = llm.generate(prompts, params, use_tqdm=False)
        texts.append([[list(part.token_ids) for part in out.outputs] for out in outputs])
    try:
        stats = llm.collective_rpc("longtail_stats")
    except Exception as error:
        stats = str(error)
    print("\n" + json.dumps({"texts": texts, "stats": stats}))
