"""Models made here: what stands in their folders, and that transformers and vLLM load them."""

import json
import os
from pathlib import Path

import pytest

from longtail.engine.models import SMALLEST_HEAD, dummy_model, shape_model
from longtail.engine.tiny.task import EOS, PAD, VOCABULARY, Problem
from longtail.policies.latency.shapes import SHAPES

PARAMETERS = {  # as the model cards give them, in billions
    "qwen2.5-1.5b": 1.54,
    "qwen2.5-7b": 7.62,
    "qwen2.5-14b": 14.77,
    "qwen2.5-32b": 32.76,
}
PROMPTS = [Problem((3, 5, 7), 36).prompt, Problem((2, 4, 5, 9), 31).prompt, [5] * 40]


def config_of(folder: Path) -> dict:
    assert [path.name for path in folder.iterdir()] == ["config.json"]
    return json.loads((folder / "config.json").read_text())


def test_a_dummy_model_is_what_was_asked_for(tmp_path: Path) -> None:
    folder = dummy_model(tmp_path / "a" / "b", vocab_size=1000, max_position=512, end_token_id=7)
    config = config_of(folder)
    assert folder == tmp_path / "a" / "b"
    assert config["vocab_size"] == 1000 and config["max_position_embeddings"] == 512
    assert config["eos_token_id"] == 7 and config["torch_dtype"] == "float32"
    assert config["head_dim"] == SMALLEST_HEAD
    assert config_of(dummy_model(folder, vocab_size=10))["eos_token_id"] is None
    wide = config_of(dummy_model(tmp_path / "c", vocab_size=10, hidden=512, heads=8, kv_heads=8))
    assert wide["head_dim"] == 64 and wide["num_key_value_heads"] == 8
    with pytest.raises(ValueError, match="evenly"):
        dummy_model(tmp_path / "d", vocab_size=10, heads=4, kv_heads=3)


def test_a_shape_is_the_published_one(tmp_path: Path) -> None:
    config = config_of(shape_model(tmp_path / "a", "qwen2.5-7b"))
    assert config.items() >= SHAPES["qwen2.5-7b"].items()
    assert config["torch_dtype"] == "bfloat16"
    short = config_of(shape_model(tmp_path / "b", "qwen2.5-7b", max_position=4096))
    assert short == {**config, "max_position_embeddings": 4096}
    with pytest.raises(ValueError, match=r"qwen2\.5-32b"):
        shape_model(tmp_path / "c", "qwen2.5-8b")


def test_nothing_half_written_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dummy_model(tmp_path, vocab_size=10)

    def stopped(*paths: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", stopped)
    with pytest.raises(KeyboardInterrupt):
        dummy_model(tmp_path, vocab_size=20)
    assert config_of(tmp_path)["vocab_size"] == 10


@pytest.mark.parametrize("name", SHAPES)
def test_transformers_counts_the_published_parameters(tmp_path: Path, name: str) -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    config = transformers.AutoConfig.from_pretrained(shape_model(tmp_path, name))
    assert type(config).__name__ == "Qwen2Config" and config.dtype == torch.bfloat16
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    assert model.num_parameters() / 1e9 == pytest.approx(PARAMETERS[name], abs=0.006)


def test_a_tiny_llama_is_trained_twice_the_same(tmp_path: Path) -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    from longtail.engine.tiny.llama import tiny_llama

    lines: list[str] = []
    a, b = (
        tiny_llama(tmp_path / n, seed=s, steps=3, say=lines.append) for n, s in (("a", 1), ("b", 1))
    )
    c = tiny_llama(tmp_path / "c", seed=2, steps=3)
    weights = [(folder / "model.safetensors").read_bytes() for folder in (a, b, c)]
    assert weights[0] == weights[1] != weights[2]
    assert lines and {path.name for path in tmp_path.iterdir()} == {"a", "b", "c"}

    model = transformers.AutoModelForCausalLM.from_pretrained(a)
    config = model.config
    assert model.dtype == torch.float32 and config.vocab_size == len(VOCABULARY)
    assert (config.eos_token_id, config.pad_token_id) == (EOS, PAD)
    assert config.max_position_embeddings == 2048
    assert model(torch.tensor([PROMPTS[0]])).logits.shape == (1, len(PROMPTS[0]), len(VOCABULARY))
    with pytest.raises(FileExistsError):
        tiny_llama(a, steps=3)


def test_a_cached_tiny_llama_is_trained_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch"), pytest.importorskip("transformers")
    from longtail.engine.tiny import llama

    trained: list[Path] = []

    def train(folder: Path, say: object) -> Path:
        trained.append(folder)
        folder.mkdir(parents=True)
        return folder

    monkeypatch.setattr(llama, "tiny_llama", train)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    lines: list[str] = []
    folders = {llama.tiny_llama_cached(lines.append) for _ in range(2)}
    assert folders == set(trained) and len(trained) == len(lines) == 1
    assert trained[0].parent == tmp_path / "longtail" / "models"


def generated(folder: Path, temperature: float, **options: object) -> list[list[int]]:
    """What vLLM writes to each of `PROMPTS`, at most 200 tokens."""
    from vllm import LLM, SamplingParams

    llm = LLM(
        model=str(folder),
        skip_tokenizer_init=True,
        dtype="float32",
        enforce_eager=True,
        max_model_len=1024,
        **options,
    )
    outputs = llm.generate(
        [{"prompt_token_ids": prompt} for prompt in PROMPTS],
        SamplingParams(temperature=temperature, max_tokens=200, detokenize=False),
        use_tqdm=False,
    )
    llm.llm_engine.engine_core.shutdown()
    return [list(output.outputs[0].token_ids) for output in outputs]


@pytest.mark.usefixtures("vllm_cpu")
def test_vllm_writes_searches(tiny_llama: Path) -> None:
    for tokens in generated(tiny_llama, 0.8):
        assert tokens[-1] == EOS or len(tokens) == 200
        assert EOS not in tokens[:-1]
        assert max(tokens) < len(VOCABULARY)


@pytest.mark.usefixtures("vllm_cpu")
def test_vllm_fills_a_dummy_model(tmp_path: Path) -> None:
    folder = dummy_model(tmp_path, vocab_size=128256)
    outputs = generated(folder, 1.0, load_format="dummy")
    assert [len(tokens) for tokens in outputs] == [200] * 3
    assert max(map(max, outputs)) > 100_000
