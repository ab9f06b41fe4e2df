"""A row of each format as a `Record`. Shapes as the sources named in `formats` give them."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from toolkit import problems as questions
from toolkit.errors import InputError
from toolkit.importing.records import Record, first, openai_usage
from toolkit.types import Usage

ID_KEYS = ("problem_id", "id", "idx", "unique_id", "task_id")
QUESTION_KEYS = ("question", "problem", "prompt", "text", "input")
TEXT_KEYS = ("response", "completion", "output", "text", "solution")

_DRAW_NUMBER = re.compile(r"[-_:/#|.]+(?:draw|sample|s|d|n)?[-_]?\d+$")


def _plain(place: str, row: Mapping[str, Any]) -> Record:
    found = first(row, TEXT_KEYS)
    texts = [found] if isinstance(found, str) else found
    if not isinstance(texts, list) or not all(isinstance(t, str) for t in texts):
        raise InputError(
            f"{place}: no answer text: give one of {', '.join(TEXT_KEYS)} as a text or a list of texts"
        )
    ids = tuple(str(row[key]) for key in ID_KEYS if row.get(key) is not None)
    question = first(row, questions.QUESTION_KEYS)
    return Record(
        place,
        tuple(texts),
        openai_usage(row.get("usage")),
        ids,
        question if isinstance(question, str) else None,
        model=str(row["model"]) if row.get("model") is not None else None,
    )


def _batch(place: str, row: Mapping[str, Any]) -> Record:
    """`custom_id` is the problem's id, or that and the draw's number after a separator."""
    named = str(row.get("custom_id"))
    ids = (named, _DRAW_NUMBER.sub("", named))
    response = _mapping(row.get("response"))
    body = response.get("body")
    if not isinstance(body, Mapping) or response.get("status_code", 200) != 200 or row.get("error"):
        return Record(place, (), ids=ids, failed=True)
    return Record(place, _answers(place, body), openai_usage(body.get("usage")), ids)


def _answers(place: str, body: Mapping[str, Any]) -> tuple[str, ...]:
    """Of a chat, a raw completion, or the Responses API."""
    if isinstance(body.get("choices"), list):
        choices = body["choices"]
        texts = [
            (c.get("message") or {}).get("content") if "message" in c else c.get("text") for c in choices
        ]
        return tuple(_flat(text) for text in texts)
    if isinstance(body.get("output"), list):
        messages = [part for part in body["output"] if part.get("type") == "message"]
        return tuple(_flat(part.get("content")) for part in messages)
    raise InputError(
        f"{place}: response.body has neither choices nor output: import the batch's output file, of chats or completions"
    )


def _harness(place: str, row: Mapping[str, Any]) -> Record:
    doc = _mapping(row.get("doc"))
    given = row.get("resps") if row.get("resps") is not None else row.get("filtered_resps")
    texts = [
        text for request in given or [] for text in (request if isinstance(request, list) else [request])
    ]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise InputError(
            f"{place}: resps holds no generated text: only tasks that generate can be imported, not multiple choice"
        )
    question = first(doc, QUESTION_KEYS)
    return Record(
        place,
        tuple(texts),
        ids=tuple(str(doc[key]) for key in ID_KEYS if doc.get(key) is not None),
        question=question if isinstance(question, str) else None,
        position=str(row.get("doc_id")),
        asked=_prompt(row.get("arguments")),
    )


def _prompt(arguments: Any) -> str | None:
    """The first request's prompt: {"gen_args_0": {"arg_0": prompt}}, or [[prompt, settings]]."""
    for level in ("gen_args_0", "arg_0"):
        if isinstance(arguments, Mapping):
            arguments = arguments.get(level)
        elif isinstance(arguments, list) and arguments:
            arguments = arguments[0]
    if isinstance(arguments, list):
        arguments = arguments[0] if arguments else None
    return _chat(arguments) if isinstance(arguments, str) else None


def _chat(prompt: str) -> str:
    """A chat's messages stand there as JSON."""
    try:
        messages = json.loads(prompt) if prompt.startswith("[{") else None
    except ValueError:
        return prompt
    return "\n".join(_flat(m.get("content")) for m in messages) if messages else prompt


def _inspect(place: str, row: Mapping[str, Any]) -> Record:
    output = _mapping(row.get("output"))
    choices = output.get("choices")
    asked = row.get("input")
    question = asked if isinstance(asked, str) else None
    if isinstance(asked, list):
        question = _flat(next((m.get("content") for m in reversed(asked) if m.get("role") == "user"), ""))
    hints: dict[str, Any] = {"question": question, "position": str(row.get("id")), "asked": question}
    if not choices or row.get("error"):
        return Record(place, (), failed=True, **hints)
    texts = tuple(_flat((choice.get("message") or {}).get("content")) for choice in choices)
    return Record(place, texts, _inspect_usage(output.get("usage")), **hints)


def _inspect_usage(usage: Any) -> Usage | None:
    if not isinstance(usage, Mapping) or not isinstance(usage.get("output_tokens"), int):
        return None
    thinking = usage.get("reasoning_tokens") or 0
    output = max(0, usage["output_tokens"] - thinking)
    return Usage(usage.get("input_tokens") or 0, output, usage.get("input_tokens_cache_read") or 0, thinking)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _flat(content: Any) -> str:
    """A message's text, whether it is one text or a list of parts; thoughts are left out."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(part.get("text") or "" for part in parts if isinstance(part, Mapping))


READ: Mapping[str, Callable[[str, Mapping[str, Any]], Record]] = {
    "jsonl": _plain,
    "openai-batch": _batch,
    "lm-eval": _harness,
    "inspect": _inspect,
}
