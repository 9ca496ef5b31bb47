"""OpenAI's chat and text completions, as JSONL: what clients and servers of that API write down.

A line is one of: a request and its response (`{"request": .., "response": ..}`, or the fields of
both in one object); a prompt or messages with the response as text; a line of the batch API's
output, whose request is a line of the batch's input with the same `custom_id`, in this file or an
earlier one; a chat (`messages`) that ends with the assistant. Token ids are read where vLLM gave
them (`return_token_ids`, or `return_tokens_as_token_ids` with logprobs).
"""

from __future__ import annotations

from typing import Any

from .format import FAILED, PACKED, Format, Raw, Reading, Rows, same
from .messages import content_of, text_of

TOKEN_ID = "token_id:"


def _unfold(raw: Raw, reading: Reading) -> Rows:
    custom_id = raw.get("custom_id", (str, int))
    if raw.values.get("response") is None and raw.values.get("choices") is None:
        if custom_id is not None and raw.values.get("error") is None:  # a line of a batch's input
            reading.kept[str(custom_id)] = _prompt(raw, reading, raw.get("body", dict) or {})
        elif raw.values.get("error") is not None:
            reading.told[FAILED] += 1
        else:
            yield from _chat(raw, reading)
        return
    if isinstance(raw.values.get("response"), str):
        prompt = _prompt(raw, reading, raw.values)
        yield {**raw.plain(), **prompt, "output": raw.values["response"]}
        return
    response = raw if raw.values.get("response") is None else _response(raw, reading)
    if response is None:
        return
    choices = list(response.parts("choices"))
    reading.told[FAILED] += not choices
    prompt = _prompt(raw, reading, raw.get("request", dict) or raw.get("body", dict) or raw.values)
    if not prompt and custom_id is not None:
        prompt = reading.kept.get(str(custom_id), {})
    if not prompt and response.values.get("prompt_token_ids") is None:
        raise raw.error(
            "a response without its request",
            "name the batch's input file first, or write request and response on one line",
        )
    usage = response.get("usage", dict) or {}
    for choice in choices:
        yield {
            **raw.plain(),
            **prompt,
            **_ids("prompt_tokens", response.get("prompt_token_ids", list)),
            **_output(choice, reading),
            "model": response.get("model", str),
            "finish_reason": choice.get("finish_reason", str),
            "prompt_len": usage.get("prompt_tokens"),
            # Usage adds up the choices of a request.
            "output_len": usage.get("completion_tokens") if len(choices) == 1 else None,
        }


def _response(raw: Raw, reading: Reading) -> Raw | None:
    """The response's body; None for one that failed."""
    response = raw.within(raw.values["response"], "response")
    status = response.get("status_code")
    if status not in (None, 200) or raw.values.get("error") is not None:
        reading.told[FAILED] += 1
        return None
    body = response.get("body", dict)
    return response if body is None else raw.within(body, "response.body")


def _prompt(raw: Raw, reading: Reading, request: Any) -> dict[str, Any]:
    """Prompt and temperature of a request; nothing where there is no prompt."""
    request = raw.within(request, "the request")
    prompt = request.values.get("messages", request.values.get("prompt"))
    if prompt is None:
        return {}
    temperature = request.get("temperature", (int, float))
    if isinstance(prompt, list) and prompt and isinstance(prompt[0], int):
        return {"prompt_tokens": prompt, "temperature": temperature}
    return {"prompt": text_of(raw, reading, prompt, "prompt"), "temperature": temperature}


def _output(choice: Raw, reading: Reading) -> dict[str, Any]:
    """Text, and token ids where they are given."""
    message = choice.get("message", dict)
    if message is None:
        text = choice.get("text", str)
    else:
        part = choice.within(message, "message")
        thought = part.get("reasoning_content", str) or part.get("reasoning", str) or ""
        text = thought + content_of(choice, reading, message, "response")
    ids = choice.get("token_ids", list) or _ids_of_logprobs(choice)
    return {"output": text, **_ids("output_tokens", ids)}


def _ids_of_logprobs(choice: Raw) -> list[int] | None:
    """Ids where tokens are written as `token_id:N`."""
    words = choice.get("logprobs.tokens", list)
    if words is None:
        words = [token.get("token") for token in choice.parts("logprobs.content")]
    ids = []
    for word in words:
        number = word.removeprefix(TOKEN_ID) if isinstance(word, str) else ""
        if number == word or not (number.isdecimal() and len(number) < 10):
            return None
        ids.append(int(number))
    return ids or None


def _ids(name: str, ids: list[Any] | None) -> dict[str, Any]:
    return {} if ids is None else {name: ids}


def _chat(raw: Raw, reading: Reading) -> Rows:
    """A chat whose last message is the response."""
    messages = raw.get("messages", list)
    if not messages or raw.within(messages[-1], "a message").get("role") != "assistant":
        raise raw.error("neither a response nor a chat that ends with the assistant")
    yield {
        **raw.plain(),
        "prompt": text_of(raw, reading, messages[:-1], "prompt"),
        "output": content_of(raw, reading, messages[-1], "response"),
    }


OPENAI = Format(
    name="openai",
    about="OpenAI chat or text completions as JSONL: request with response, or batch files.",
    source="platform.openai.com/docs/api-reference (chat, completions, batch); vLLM's extensions",
    looks='{"request": {"messages": [..]}, "response": {"choices": [{"message": {..}, '
    '"finish_reason": "stop"}], "usage": {..}}}',
    kind="jsonl",
    marks=tuple(
        frozenset(mark)
        for mark in (
            {"request", "response"},
            {"custom_id", "response"},
            {"custom_id", "body"},
            {"messages", "choices"},
            {"prompt", "choices"},
            {"messages", "response"},
            {"prompt", "response"},
            {"messages"},
        )
    ),
    path=r"\.(?:jsonl|ndjson)" + PACKED,
    fields=same(
        *("prompt", "output", "prompt_tokens", "output_tokens", "prompt_len", "output_len"),
        *("finish_reason", "model", "temperature"),
    ),
    unfold=_unfold,
    unknown=("RL steps", "rewards", "token ids (but for vLLM's extensions)", "end tokens"),
)
