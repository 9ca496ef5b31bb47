"""Chat messages as text."""

from __future__ import annotations

from typing import Any

from ..gaps import CHAT
from .format import Raw, Reading

NO_TEXT = "{n} message parts are not text (images, tool calls) and are left out"


def text_of(raw: Raw, reading: Reading, value: Any, what: str) -> str | None:
    """Text as it is, or the contents of chat messages joined by line breaks."""
    if value is None or isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise raw.error(f"{what} is {type(value).__name__}, neither text nor messages")
    if what == "prompt":
        reading.told[CHAT] += 1
    contents = [content_of(raw, reading, message, what) for message in value]
    return "\n".join(content for content in contents if content)


def content_of(raw: Raw, reading: Reading, message: Any, what: str) -> str:
    """The text of one message."""
    content = raw.within(message, f"a message of the {what}").get("content", (str, list))
    if isinstance(content, str):
        return content
    texts = []
    for part in content or ():
        text = part.get("text") if isinstance(part, dict) else part
        if isinstance(text, str):
            texts.append(text)
        else:
            reading.told[NO_TEXT] += 1
    return "".join(texts)
