"""Vendors that speak no OpenAI format, through the litellm package (an extra; 1.106.2 was tested).

litellm is a translator here and nothing more: it does not retry, drops no parameter, and its prices are
not used. It finds vendors' keys in the environment where the run file names none.
"""

import asyncio
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import aiohttp
import httpx

from toolkit.errors import InputError, Kind, ProviderError, redact
from toolkit.provider import Capabilities
from toolkit.types import Choice, Finish, Reply, Request, Usage

ALWAYS = frozenset({"max_tokens", "top_k", "extra"})  # top_k is no parameter of OpenAI's: sent as it is
ASKED = ("temperature", "top_p", "stop", "seed", "n", "thinking")
FINISHES = {"stop": Finish.STOP, "length": Finish.LENGTH, "content_filter": Finish.FILTER}
# aiohttp's own words come first: httpx's for them call a connection that broke after the request one that
# could not be made.
NEVER_CONNECTED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
BROKEN = (
    aiohttp.ClientError,
    httpx.RemoteProtocolError,
    httpx.ReadError,
    httpx.WriteError,
    ConnectionResetError,
)
UNKNOWN_FATE = frozenset({504, 524})  # a gateway gave up waiting; the model behind it may have answered


def sdk() -> Any:
    """The package, imported with its network look-up of prices switched off."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    try:
        import litellm
    except ImportError:
        raise InputError("litellm is not installed: pip install 'pricematch[litellm]'") from None
    litellm.suppress_debug_info = True
    litellm.telemetry = False
    return litellm


async def close() -> None:
    """Close the connections that litellm keeps for the process."""
    sdk()
    from litellm.llms.custom_httpx.async_client_cleanup import close_litellm_async_clients

    await close_litellm_async_clients()


@dataclass(frozen=True, slots=True)
class LiteLLM:
    """Any vendor litellm knows; a model is named as litellm names it, e.g. anthropic/claude-sonnet-4-5."""

    base_url: str | None = None
    key: str | None = None
    timeout: float = 600.0  # seconds, one request from its sending to the answer's end

    def capabilities(self, model: str) -> Capabilities:
        return _abilities(model)

    async def ask(self, request: Request) -> Reply:
        self._refuse_unsupported(request)
        litellm = sdk()
        call = litellm.acompletion if request.prompt is None else litellm.atext_completion
        try:
            async with asyncio.timeout(self.timeout):  # litellm's own is for each read
                answer = await call(**self._arguments(request))
        except TimeoutError as error:
            said = f"{request.model}: no answer in {self.timeout:g} s"
            raise ProviderError(Kind.TIMEOUT, said, retryable=True) from error
        except Exception as error:  # litellm raises its vendors' own errors too
            raise _refusal(request, error, self.key) from error
        try:
            return _reply(answer)
        except (AttributeError, TypeError, ValueError) as error:
            raise ProviderError(
                Kind.BAD_BODY, f"{request.model}: the answer lacks {error}", retryable=True
            ) from error

    def _arguments(self, request: Request) -> dict[str, Any]:
        given: dict[str, Any] = {
            "model": request.model,
            "timeout": self.timeout,
            "num_retries": 0,
            "max_retries": 0,
            "drop_params": False,
        }
        if request.prompt is None:
            given["messages"] = [{"role": m.role, "content": m.content} for m in request.messages]
        else:
            given["prompt"] = request.prompt
        for name in ("max_tokens", "temperature", "top_p", "top_k", "seed"):
            if (value := getattr(request, name)) is not None:
                given[name] = value
        given |= {"n": request.n} if request.n > 1 else {}
        given |= {"stop": list(request.stop)} if request.stop else {}
        given |= {} if request.thinking is None else {"thinking": _thinking(request.thinking)}
        given |= {"api_base": self.base_url} if self.base_url else {}
        given |= {"api_key": self.key} if self.key else {}
        return given | dict(request.extra)

    def _refuse_unsupported(self, request: Request) -> None:
        honours = self.capabilities(request.model).honours
        asked = {n for n in ("temperature", "top_p", "seed", "thinking") if getattr(request, n) is not None}
        asked |= {"n"} if request.n > 1 else set()
        asked |= {"stop"} if request.stop else set()
        for name in sorted(asked - honours):
            raise ProviderError(
                Kind.UNSUPPORTED,
                f"{request.model}: {name} is not honoured by this vendor, says litellm: leave it out of this model's decoding",
                scope="model",
                billed="no",
            )


@lru_cache
def _abilities(model: str) -> Capabilities:
    """What litellm's tables say of the vendor's model."""
    try:
        able = set(sdk().get_supported_openai_params(model) or ())
    except InputError:
        raise
    except Exception:  # an unknown vendor: the first request is refused with its reason
        able = set()
    honours = ALWAYS | (set(ASKED) & able)
    return Capabilities(max_n=128 if "n" in able else 1, honours=frozenset(honours), completions=True)


def _thinking(tokens: int) -> Mapping[str, Any]:
    return (
        {"type": "enabled", "budget_tokens": tokens} if tokens else {"type": "disabled", "budget_tokens": 0}
    )


def _reply(answer: Any) -> Reply:
    choices = tuple(map(_choice, answer.choices))
    if not choices:
        raise ValueError("any choice")
    effective = {
        name: value
        for name in ("system_fingerprint", "service_tier")
        if (value := getattr(answer, name, None))
    }
    return Reply(
        choices, _usage(getattr(answer, "usage", None)), answer.model or "", answer.id or "", effective
    )


def _choice(raw: Any) -> Choice:
    finish = FINISHES.get(raw.finish_reason or "", Finish.OTHER)
    message = getattr(raw, "message", None)
    if message is None:
        return Choice(raw.text or "", finish)
    return Choice(message.content or "", finish, getattr(message, "reasoning_content", None) or "")


def _usage(raw: Any) -> Usage | None:
    """litellm counts thoughts as completion tokens, whatever the vendor does."""
    if raw is None or not raw.prompt_tokens:
        return None
    details, prompts = (
        getattr(raw, "completion_tokens_details", None),
        getattr(raw, "prompt_tokens_details", None),
    )
    thinking = int(getattr(details, "reasoning_tokens", None) or 0)
    cached = int(getattr(prompts, "cached_tokens", None) or 0)
    return Usage(int(raw.prompt_tokens), max(int(raw.completion_tokens) - thinking, 0), cached, thinking)


def _refusal(request: Request, error: Exception, key: str | None) -> ProviderError:
    """The decision behind one of litellm's errors. The cause comes first: a refused connection is dressed
    up as a server's error 500."""
    litellm = sdk()
    reason = redact(" ".join(str(error).split()).removeprefix("litellm."), (key or "",))[:500]
    status = getattr(error, "status_code", None)
    message = f"{request.model}: {reason}"

    def made(kind: Kind, **data: Any) -> ProviderError:
        return ProviderError(kind, message, status=status, **({"billed": "no"} | data))

    causes = tuple(_causes(error))
    if _unreached(causes):
        return made(Kind.UNREACHABLE, retryable=True, scope="account")
    if isinstance(error, litellm.Timeout):
        return made(Kind.TIMEOUT, retryable=True, billed="unknown")
    if isinstance(error, litellm.UnsupportedParamsError):
        return made(Kind.UNSUPPORTED, scope="model")
    if isinstance(error, litellm.ContextWindowExceededError):
        return made(Kind.CONTEXT_OVERFLOW)
    if isinstance(error, litellm.ContentPolicyViolationError):
        return made(Kind.CONTENT_FILTER)
    if isinstance(error, litellm.AuthenticationError | litellm.exceptions.PermissionDeniedError):
        return made(Kind.KEY, scope="account")
    if status == 402 or "insufficient_quota" in reason:
        return made(Kind.CREDIT, scope="account")
    if isinstance(error, litellm.NotFoundError):
        return made(Kind.MODEL, scope="model")
    if isinstance(error, litellm.RateLimitError):
        return made(Kind.RATE_LIMIT, retryable=True, retry_after=_retry_after(error))
    if any(isinstance(c, BROKEN) for c in causes):
        return made(Kind.CONNECTION, retryable=True, billed="unknown")
    if not _refused_over_http(causes) and (status is None or status >= 500 or status == 200):
        # What litellm cannot read becomes an error 500 of its own making.
        return made(Kind.BAD_BODY, retryable=True, billed="unknown")
    if status is not None and (status >= 500 or status in (408, 409, 425)):
        billed = "unknown" if status in UNKNOWN_FATE else "no"
        return made(Kind.OVERLOADED, retryable=True, retry_after=_retry_after(error), billed=billed)
    if isinstance(error, litellm.BadRequestError):
        unknown = "LLM Provider NOT provided" in reason
        return made(Kind.MODEL if unknown else Kind.BAD_REQUEST, scope="model")
    return made(Kind.BAD_BODY, retryable=True, billed="unknown")


def _unreached(causes: Iterable[BaseException]) -> bool:
    """Whether no connection ever stood, so that nothing can have been billed."""
    spoken = [
        c
        for c in causes
        if isinstance(c, (*NEVER_CONNECTED, *BROKEN, httpx.ConnectError, httpx.ConnectTimeout))
    ]
    if any(isinstance(c, NEVER_CONNECTED) for c in spoken):
        return True
    return bool(spoken) and not any(isinstance(c, BROKEN) for c in spoken)


def _refused_over_http(causes: Iterable[BaseException]) -> bool:
    return any(isinstance(c, httpx.HTTPStatusError) for c in causes)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _retry_after(error: Any) -> float | None:
    """Seconds the vendor asks for, where litellm kept the headers."""
    for source in (
        getattr(error, "litellm_response_headers", None),
        getattr(getattr(error, "response", None), "headers", None),
    ):
        try:
            return max(0.0, float((source or {}).get("retry-after", "")))
        except ValueError:
            continue
    return None
