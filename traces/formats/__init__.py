"""Dumps of trainers and servers: one file per kind, and this dictionary of them.

A new kind is a `Format` in a file of its own and a line here; `longtail trace import` then has it.
Nothing heavy is imported here.
"""

from .areal import AREAL
from .format import Format, Raw, Reading
from .nemo_rl import NEMO_RL
from .openai import OPENAI
from .prime_rl import PRIME_RL
from .roll import ROLL
from .serving import AZURE, BURSTGPT, MOONCAKE, VLLM_BENCH
from .slime import SLIME
from .trl import TRL
from .verl import VERL

FORMATS: dict[str, Format] = {
    format.name: format
    for format in (
        *(VERL, TRL, SLIME, PRIME_RL, NEMO_RL, AREAL, ROLL, OPENAI),
        *(VLLM_BENCH, MOONCAKE, AZURE, BURSTGPT),
    )
}

__all__ = ["FORMATS", "Format", "Raw", "Reading"]
