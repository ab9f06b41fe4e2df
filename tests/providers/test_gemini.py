"""Gemini's native format from the client's side: what is sent, what is read, and what each refusal means."""

import json
from email.utils import formatdate
from time import time
from typing import Any

import pytest

from providers.gemini import BASE_URL, Gemini
from toolkit.errors import Kind, ProviderError
from toolkit.types import Finish, HttpReply, Message, Reply, Request, Usage

KEY = "AIzaverysecretkey"
GEMINI = Gemini(key=KEY)
FLASH, LITE, PRO, THREE = (
    "gemini-2.5-flash",
    "gemini-2.5-flash-lite",
    "gemini-2.5-pro",
    "gemini-3-pro-preview",
)
TALK = (
    Message("system", "Be brief."),
    Message("user", "Why é?"),
    Message("assistant", "Because."),
    Message("user", "Why?"),
)


def asked(model: str = FLASH, **changes: Any) -> Request:
    return Request(**{"model": model, "messages": (Message("user", "Why?"),), **changes})


def body(request: Request) -> dict[str, Any]:
    sent: dict[str, Any] = json.loads(GEMINI.encode(request).body)
    return sent


def config(request: Request) -> dict[str, Any]:
    sent: dict[str, Any] = body(request).get("generationConfig", {})
    return sent


# --- requests ------------------------------------------------------------------------------------


def test_a_chat_becomes_contents_and_a_system_instruction() -> None:
    call = GEMINI.encode(asked(messages=TALK))
    assert call.url == f"{BASE_URL}/models/{FLASH}:generateContent"
    assert body(asked(messages=TALK)) | {"generationConfig": None} == {
        "contents": [
            {"role": "user", "parts": [{"text": "Why é?"}]},
            {"role": "model", "parts": [{"text": "Because."}]},
            {"role": "user", "parts": [{"text": "Why?"}]},
        ],
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "generationConfig": None,
    }


def test_a_model_may_be_named_as_google_lists_it() -> None:
    assert GEMINI.encode(asked(f"models/{PRO}")).url == GEMINI.encode(asked(PRO)).url
    assert GEMINI.capabilities(f"models/{PRO}") == GEMINI.capabilities(PRO)


def test_what_is_not_given_is_not_sent() -> None:
    assert set(body(asked(LITE))) == {"contents"}


def test_everything_given_is_sent_under_googles_name() -> None:
    request = asked(
        n=4,
        max_tokens=64,
        temperature=0.0,
        top_p=0.9,
        top_k=3,
        stop=("\n", "Q:"),
        seed=0,
        thinking=512,
        extra={"safetySettings": [{"category": "C"}], "generationConfig": {"responseLogprobs": True}},
    )
    assert config(request) == {
        "candidateCount": 4,
        "maxOutputTokens": 64,
        "temperature": 0.0,
        "topP": 0.9,
        "topK": 3,
        "stopSequences": ["\n", "Q:"],
        "seed": 0,
        "thinkingConfig": {"thinkingBudget": 512, "includeThoughts": True},
        "responseLogprobs": True,
    }
    assert body(request)["safetySettings"] == [{"category": "C"}]
    assert "safetySettings" not in body(asked())


@pytest.mark.parametrize(
    ("model", "thinking", "sent"),
    [
        (FLASH, None, {"includeThoughts": True}),
        (FLASH, 0, {"thinkingBudget": 0}),
        (FLASH, 24_576, {"thinkingBudget": 24_576, "includeThoughts": True}),
        (LITE, None, None),  # does not think unless it is told to
        (LITE, 512, {"thinkingBudget": 512, "includeThoughts": True}),
        (PRO, 128, {"thinkingBudget": 128, "includeThoughts": True}),
        (THREE, None, {"includeThoughts": True}),
        ("gemini-2.0-flash", None, None),
        ("gemini-flash-latest", None, None),
    ],
)
def test_thoughts_are_asked_for_where_there_are_some(
    model: str, thinking: int | None, sent: dict[str, Any] | None
) -> None:
    assert config(asked(model, thinking=thinking)).get("thinkingConfig") == sent


@pytest.mark.parametrize(
    ("model", "change", "said"),
    [
        (PRO, {"thinking": 0}, "thinking .* cannot stop thinking: give 128 to 32768"),
        (PRO, {"thinking": 40_000}, "thinking .* 128 to 32768"),
        (FLASH, {"thinking": 24_577}, "thinking .* 24576"),
        (LITE, {"thinking": 100}, "thinking .* 512 to 24576"),
        (THREE, {"thinking": 512}, "thinking .* takes a level: extra: .*thinkingLevel"),
        ("gemini-2.0-flash", {"thinking": 512}, "thinking .* leave it out"),
        ("gemini-flash-latest", {"thinking": 0}, "thinking .* leave it out"),
        (THREE, {"n": 2}, "n .* 1 at most"),
        ("gemini-flash-latest", {"n": 2}, "n .* 1 at most"),
        (FLASH, {"n": 9}, "n .* 8 at most"),
        ("gemini-3.5-flash-lite", {"temperature": 0.7}, "temperature .* leave it out"),
        ("gemini-3.8-flash", {"top_k": 3}, "top_k .* leave it out"),
        (FLASH, {"stop": tuple("abcdef")}, "stop .* 5 stop strings, not 6"),
        (FLASH, {"messages": (), "prompt": "Q:"}, "prompt .* no raw completions"),
    ],
    ids=str,
)
def test_what_a_model_does_not_honour_is_refused_by_name_before_it_is_sent(
    model: str, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(ProviderError, match=f"{model}: {said}") as refused:
        GEMINI.encode(asked(model, **change))
    error = refused.value
    assert (error.kind, error.billed, error.retryable, error.scope) == (
        Kind.UNSUPPORTED,
        "no",
        False,
        "model",
    )


@pytest.mark.parametrize(
    ("model", "max_n", "thinks"),
    [
        ("gemini-1.5-pro", 8, False),
        ("gemini-2.0-flash-001", 8, False),
        (FLASH, 8, True),
        ("gemini-2.5-flash-preview-09-2025", 8, True),
        (LITE, 8, True),
        (PRO, 8, True),
        (THREE, 1, False),
        ("gemini-3.8-flash", 1, False),
        ("gemini-4-argon", 1, False),
        ("gemini-flash-latest", 1, False),
        ("gemma-3-27b-it", 1, False),
    ],
)
def test_what_a_models_name_tells_of_it(model: str, max_n: int, thinks: bool) -> None:
    able = GEMINI.capabilities(model)
    assert (able.max_n, "thinking" in able.honours, able.seeds, able.completions) == (
        max_n,
        thinks,
        True,
        False,
    )


def test_the_key_stands_in_its_header_and_nowhere_else() -> None:
    call = GEMINI.encode(asked())
    assert call.headers["x-goog-api-key"] == KEY
    assert KEY not in call.url + call.body.decode()
    assert "x-goog-api-key" not in Gemini().encode(asked()).headers


# --- answers -------------------------------------------------------------------------------------


def reply(content: Any, status: int = 200, **headers: str) -> HttpReply:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return HttpReply(status, {k.replace("_", "-"): v for k, v in headers.items()}, raw)


def said(*parts: Any, finish: str | None = "STOP") -> dict[str, Any]:
    texts = [{"text": p} if isinstance(p, str) else p for p in parts]
    return {"content": {"role": "model", "parts": texts}, "finishReason": finish}


def answer(*candidates: dict[str, Any], **fields: Any) -> dict[str, Any]:
    usage = {"promptTokenCount": 10, "candidatesTokenCount": 7, "totalTokenCount": 17}
    known = {
        "candidates": list(candidates),
        "usageMetadata": usage,
        "modelVersion": "g-001",
        "responseId": "r-1",
    }
    return known | fields


def read(content: Any, **headers: str) -> Reply:
    return GEMINI.decode(asked(), reply(content, 200, **headers))


def test_every_candidate_is_read_with_the_servers_account() -> None:
    got = read(answer(said("a", "b"), said("c", finish="MAX_TOKENS")), x_ratelimit_limit_requests="9")
    assert [(c.text, c.finish) for c in got.choices] == [("ab", Finish.STOP), ("c", Finish.LENGTH)]
    assert got.usage == Usage(prompt=10, output=7)
    assert (got.request_id, got.model_version) == ("r-1", "g-001")
    assert got.limits == {"x-ratelimit-limit-requests": "9"}


def test_thoughts_are_kept_apart_from_the_text() -> None:
    choice = read(answer(said({"text": "Let me ", "thought": True}, {"text": "see.", "thought": True}, "42")))
    assert (choice.choices[0].text, choice.choices[0].reasoning) == ("42", "Let me see.")


def test_thinking_and_cached_tokens_are_counted_as_google_counts_them() -> None:
    usage = {
        "promptTokenCount": 100,
        "cachedContentTokenCount": 64,
        "candidatesTokenCount": 80,
        "thoughtsTokenCount": 420,
        "toolUsePromptTokenCount": 5,
        "totalTokenCount": 605,
        "serviceTier": "flex",
    }
    got = read(answer(said("x"), usageMetadata=usage))
    assert got.usage == Usage(prompt=105, output=80, cached=64, thinking=420, source="server")
    assert got.effective == {"service_tier": "flex"}


def test_a_draw_whose_tokens_all_went_into_thoughts_is_a_truncated_draw() -> None:
    usage = {"promptTokenCount": 9, "thoughtsTokenCount": 64, "totalTokenCount": 73}
    got = read(answer({"content": {"role": "model"}, "finishReason": "MAX_TOKENS"}, usageMetadata=usage))
    assert [(c.text, c.finish) for c in got.choices] == [("", Finish.LENGTH)]
    assert got.usage == Usage(prompt=9, output=0, thinking=64)


@pytest.mark.parametrize(
    ("word", "finish"),
    [
        ("STOP", Finish.STOP),
        ("MAX_TOKENS", Finish.LENGTH),
        ("SAFETY", Finish.FILTER),
        ("RECITATION", Finish.FILTER),
        ("BLOCKLIST", Finish.FILTER),
        ("PROHIBITED_CONTENT", Finish.FILTER),
        ("SPII", Finish.FILTER),
        ("LANGUAGE", Finish.OTHER),
        ("FINISH_REASON_UNSPECIFIED", Finish.OTHER),
        (None, Finish.OTHER),
    ],
)
def test_finish_reasons(word: str | None, finish: Finish) -> None:
    assert read(answer(said("x", finish=word))).choices[0].finish is finish


def test_a_filtered_candidate_is_a_draw_without_text() -> None:
    got = read(answer(said("a"), {"finishReason": "SAFETY", "index": 1}))
    assert [(c.text, c.finish) for c in got.choices] == [("a", Finish.STOP), ("", Finish.FILTER)]


@pytest.mark.parametrize("usage", [None, {}, {"promptTokenCount": None}])
def test_usage_that_is_not_reported_is_none_and_not_zero(usage: Any) -> None:
    assert read(answer(said("x"), usageMetadata=usage)).usage is None


# --- refusals ------------------------------------------------------------------------------------


def refused(status: int, content: Any = None, **headers: str) -> ProviderError:
    content = {"error": {"message": "said so"}} if content is None else content
    with pytest.raises(ProviderError) as error:
        GEMINI.decode(asked(), reply(content, status, **headers))
    assert error.value.status == status
    assert "\n" not in str(error.value)
    return error.value


def google(state: str = "", message: str = "said so", *details: dict[str, Any]) -> dict[str, Any]:
    return {"error": {"code": 1, "message": message, "status": state, "details": list(details)}}


def quota(quota_id: str, value: str = "250") -> dict[str, Any]:
    kind = "type.googleapis.com/google.rpc.QuotaFailure"
    return {"@type": kind, "violations": [{"quotaId": quota_id, "quotaValue": value}]}


EXCEEDED = "You exceeded your current quota, please check your plan and billing details."
PER_MINUTE = quota("GenerateRequestsPerMinutePerProjectPerModel-FreeTier")
PER_DAY = quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier")
RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "45.837906927s"}
BAD_KEY = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
LONG = "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."
FAILED = "FAILED_PRECONDITION"
BLOCKED = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}


@pytest.mark.parametrize(
    ("status", "content", "kind", "retryable", "scope", "billed"),
    [
        (400, google("INVALID_ARGUMENT", "API key not valid.", BAD_KEY), Kind.KEY, False, "account", "no"),
        (401, google("UNAUTHENTICATED"), Kind.KEY, False, "account", "no"),
        (403, google("PERMISSION_DENIED"), Kind.KEY, False, "account", "no"),
        (
            403,
            google("PERMISSION_DENIED", "x", {"reason": "BILLING_DISABLED"}),
            Kind.CREDIT,
            False,
            "account",
            "no",
        ),
        (400, google(FAILED, "Not free here. Please enable billing."), Kind.CREDIT, False, "account", "no"),
        (400, google(FAILED, "User location is not supported."), Kind.KEY, False, "account", "no"),
        (429, google("", "Your prepayment credits are depleted."), Kind.CREDIT, False, "account", "no"),
        (429, google("", EXCEEDED, PER_DAY, RETRY), Kind.QUOTA, False, "account", "no"),
        (429, google("", EXCEEDED, quota("PerMinute", "0"), RETRY), Kind.QUOTA, False, "account", "no"),
        (429, google("", EXCEEDED, PER_MINUTE, RETRY), Kind.RATE_LIMIT, True, "request", "no"),
        (429, google("", EXCEEDED), Kind.RATE_LIMIT, True, "request", "no"),
        (404, google("NOT_FOUND"), Kind.MODEL, False, "model", "no"),
        (400, google("INVALID_ARGUMENT", LONG), Kind.CONTEXT_OVERFLOW, False, "request", "no"),
        (
            500,
            google("INTERNAL", "Your input context is too long."),
            Kind.CONTEXT_OVERFLOW,
            False,
            "request",
            "no",
        ),
        (400, google("INVALID_ARGUMENT"), Kind.BAD_REQUEST, False, "model", "no"),
        (500, google("INTERNAL"), Kind.OVERLOADED, True, "request", "no"),
        (503, google("UNAVAILABLE"), Kind.OVERLOADED, True, "request", "no"),
        (502, b"<html>Bad Gateway</html>", Kind.OVERLOADED, True, "request", "no"),
        (504, google("DEADLINE_EXCEEDED"), Kind.OVERLOADED, True, "request", "unknown"),
        (200, google("INTERNAL"), Kind.OVERLOADED, True, "request", "unknown"),
        (200, BLOCKED, Kind.CONTENT_FILTER, False, "request", "unknown"),
        (200, answer(**BLOCKED), Kind.CONTENT_FILTER, False, "request", "yes"),
        (200, answer(), Kind.BAD_BODY, True, "request", "unknown"),
        (200, {}, Kind.BAD_BODY, True, "request", "unknown"),
        (200, b"<html>", Kind.BAD_BODY, True, "request", "unknown"),
        (200, b'{"candidates": [', Kind.BAD_BODY, True, "request", "unknown"),
        (200, b"\xff\xfe", Kind.BAD_BODY, True, "request", "unknown"),
        (200, 3, Kind.BAD_BODY, True, "request", "unknown"),
        (200, {"candidates": [3]}, Kind.BAD_BODY, True, "request", "unknown"),
        (
            200,
            answer(said("x"), usageMetadata={"promptTokenCount": "many"}),
            Kind.BAD_BODY,
            True,
            "request",
            "unknown",
        ),
    ],
    ids=str,
)
def test_a_refusal_says_what_to_do_as_data(
    status: int, content: Any, kind: Kind, retryable: bool, scope: str, billed: str
) -> None:
    error = refused(status, content)
    assert (error.kind, error.retryable, error.scope, error.billed) == (kind, retryable, scope, billed)


@pytest.mark.parametrize(
    ("details", "headers", "seconds"),
    [
        ((PER_MINUTE, RETRY), {}, 45.837906927),
        (({"retryDelay": "1s"},), {"retry_after": "9"}, 1.0),
        (({"retryDelay": "soon"},), {"retry_after": "9"}, 9.0),
        ((), {"retry_after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ((), {"retry_after": "soon"}, None),
        ((), {}, None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_the_wait_a_server_asks_for(
    details: tuple[dict[str, Any], ...], headers: dict[str, str], seconds: float | None, status: int
) -> None:
    assert refused(status, google("", "said so", *details), **headers).retry_after == seconds


def test_a_wait_may_be_a_date() -> None:
    asked_for = refused(429, retry_after=formatdate(time() + 30, usegmt=True)).retry_after
    assert asked_for == pytest.approx(30, abs=2)


@pytest.mark.parametrize("content", [[google("", "said\n  so")], google("", "said so"), {"error": "said so"}])
def test_the_servers_words_reach_the_user_whatever_their_shape(content: Any) -> None:
    assert str(refused(429, content)) == f"{FLASH}: said so (HTTP 429)"


@pytest.mark.parametrize("content", [[], [1], "text", None, 3])
def test_a_refusal_of_no_known_shape_still_has_its_status(content: Any) -> None:
    with pytest.raises(ProviderError) as error:
        GEMINI.decode(asked(), reply(content, 429))
    assert error.value.kind is Kind.RATE_LIMIT


def test_a_key_the_server_repeats_does_not_reach_the_message() -> None:
    plain = Gemini(key="no-known-shape-of-a-key")
    with pytest.raises(ProviderError) as error:
        plain.decode(asked(), reply(google("", "API key no-known-shape-of-a-key is not valid"), 400))
    assert "no-known-shape" not in str(error.value)
