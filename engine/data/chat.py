"""Chat messages in one form: a list of {role, content}."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
ROLES = {"human": "user", "user": "user", "customer": "user", "gpt": "assistant", "bot": "assistant",
         "chatgpt": "assistant", "bard": "assistant", "model": "assistant", "ai": "assistant", "chatbot": "assistant",
         "assistant": "assistant", "system": "system", "developer": "system", "tool": "tool", "function": "tool",
         "observation": "tool"}
#: How a conversation is written, as said to a person.
EXPECTED = ('Write each conversation as a list of objects with `role` and `content`, such as '
            '[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}].')
_ROLE_KEYS = ("role", "from", "speaker")
_TEXT_KEYS = ("content", "value", "text")


def is_messages(value: Any) -> bool:
    """Tell whether a value looks like the messages of one conversation: a list that begins with role and content."""
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict) and is_message(value[0])


def is_message(value: dict[str, Any]) -> bool:
    """Tell whether a mapping has a role and a content, under any of their usual names."""
    if "role" in value or "from" in value:
        return any(key in value for key in _TEXT_KEYS)
    return False


def normalise(value: Any) -> tuple[list[dict[str, str | None]] | None, str]:
    """Return the conversation in our form, and what is wrong with it ("" if nothing)."""
    if value is None:
        return None, ""
    if not isinstance(value, list):
        return None, "the conversation is not a list of messages"
    found: list[dict[str, str | None]] = []
    for place, message in enumerate(value, 1):
        if not isinstance(message, dict):
            return None, f"message {place} is not an object with role and content"
        if not any(key in message for key in (*_ROLE_KEYS, *_TEXT_KEYS)):
            return None, f"message {place} has neither role nor content"
        role = next((message[key] for key in _ROLE_KEYS if key in message), None)
        text = next((message[key] for key in _TEXT_KEYS if key in message), None)
        if role is not None and not isinstance(role, str):
            return None, f"the role of message {place} is not text"
        if (strange := _no_text(text)):
            return None, f"the content of message {place} is {strange}, not text"
        found.append({"role": None if role is None else ROLES.get(role.strip().lower(), role.strip()),
                      "content": _text(text)})
    return found, ""


def calls_tools(value: Any) -> bool:
    """Tell whether the assistant calls tools in a conversation as it came."""
    return isinstance(value, list) and any(_call(message) for message in value)


def without_tools(value: Any, found: list[dict[str, str | None]]) -> list[dict[str, str | None]]:
    """Return the messages `found` in a conversation but for those that only call a tool, and what tools said."""
    return [message for given, message in zip(value, found, strict=True) if message["role"] != "tool"
            and ((message["content"] or "").strip() or not _call(given))]


def _call(message: Any) -> bool:
    return isinstance(message, dict) and bool(message.get("tool_calls") or message.get("function_call"))


def _no_text(value: Any) -> str:
    """Return what a content is when it is neither text nor parts of which some are text, else ""."""
    if value is None or isinstance(value, str):
        return ""
    if isinstance(value, list):
        spoken = any(isinstance(part.get("text") if isinstance(part, dict) else part, str) for part in value)
        return "" if spoken or not value else "a list without text"
    return "an object" if isinstance(value, dict) else "true or false" if isinstance(value, bool) else "a number"


def _text(value: Any) -> str | None:
    """Return the text of a content: itself, or the text parts of a list of parts."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list):
        parts = [part.get("text") if isinstance(part, dict) else part for part in value]
        return "\n".join(part for part in parts if isinstance(part, str))
    return None
