"""Gemini through google-generativeai 0.8, for those who must: its support ended in December 2025.

What it cannot do: it knows no seed and no thinking budget, so both are refused by name; its usage leaves
thinking tokens out, so a thinking model would be billed for more than is recorded here: such models belong
to the provider `gemini`. Its waiting is done in threads, one per request in flight.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from providers.gemini import FINISHES, Gemini
from toolkit.errors import InputError, Kind, ProviderError, redact
from toolkit.provider import Capabilities
from toolkit.types import Choice, Finish, HttpReply, Reply, Request, Usage

HONOURED = frozenset({"n", "max_tokens", "temperature", "top_p", "top_k", "stop"})
FIELDS = {"max_tokens": "max_output_tokens", "n": "candidate_count"}
SAFE = ("temperature", "top_p", "top_k", "max_tokens")
THREADS = 64


@dataclass(frozen=True)
class GeminiLegacy:
    """The Gemini API behind one key. `base_url` may end in the API's version, which this SDK sets itself."""

    base_url: str
    key: str | None = None
    timeout: float = 600.0  # seconds, one request from its sending to the answer's end
    _threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(THREADS), repr=False)

    def capabilities(self, model: str) -> Capabilities:
        native = Gemini(self.base_url).capabilities(model)
        return Capabilities(max_n=native.max_n, honours=HONOURED & native.honours)

    async def ask(self, request: Request) -> Reply:
        self._refuse_unsupported(request)
        sdk = self._sdk  # imported here, not in a thread: two imports at once of one package may deadlock
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(
                self.timeout
            ):  # the SDK's own is for each read; its thread ends with that
                return await loop.run_in_executor(self._threads, self._answer, sdk, request)
        except TimeoutError as error:
            raise self._too_late() from error

    @cached_property
    def _sdk(self) -> Any:
        try:
            from google.ai import generativelanguage
            from google.api_core.client_options import ClientOptions
        except ImportError:
            raise InputError(
                "google-generativeai is not installed: pip install 'pricematch[gemini-legacy]' "
                "-c constraints-gemini-legacy.txt, best in an environment of its own"
            ) from None
        root = self.base_url.rstrip("/").removesuffix("/v1beta")
        options = ClientOptions(api_key=self.key or "none", api_endpoint=root)
        # The SDK's own client class: its `configure` keeps one key for the whole process.
        return generativelanguage.GenerativeServiceClient(transport="rest", client_options=options)

    def _answer(self, sdk: Any, request: Request) -> Reply:
        import requests
        from google.api_core import exceptions
        from google.protobuf.json_format import ParseError

        model = request.model.removeprefix("models/")
        body = {"model": f"models/{model}", "contents": _contents(request)} | _system(request)
        try:
            # The SDK would ask again by itself, unseen by the ledger.
            answer = sdk.generate_content(
                body | {"generation_config": _config(request)}, retry=None, timeout=self.timeout
            )
        except exceptions.GoogleAPICallError as error:
            raise self._refusal(request, error) from error
        except requests.exceptions.RequestException as error:
            raise self._failure(error) from error
        except (ParseError, ValueError) as error:
            said = f"{request.model}: the answer is not JSON of the promised shape"
            raise ProviderError(Kind.BAD_BODY, said, retryable=True, status=200) from error
        return self._reply(request, answer)

    def _reply(self, request: Request, answer: Any) -> Reply:
        counted = answer.usage_metadata
        usage = (
            Usage(
                counted.prompt_token_count,
                counted.candidates_token_count,
                counted.cached_content_token_count,
            )
            if counted.prompt_token_count
            else None
        )
        if not answer.candidates:
            self._refuse_empty(request, answer, usage)
        choices = tuple(
            Choice(
                "".join(part.text for part in c.content.parts),
                FINISHES.get(c.finish_reason.name, Finish.OTHER),
            )
            for c in answer.candidates
        )
        return Reply(choices, usage, getattr(answer, "model_version", ""))

    def _refuse_empty(self, request: Request, answer: Any, usage: Usage | None) -> None:
        blocked = answer.prompt_feedback.block_reason
        if not blocked:
            said = f"{request.model}: the answer has no candidates"
            raise ProviderError(Kind.BAD_BODY, said, retryable=True, status=200)
        said = f"{request.model}: the prompt was blocked ({blocked.name})"
        raise ProviderError(Kind.CONTENT_FILTER, said, billed="yes" if usage else "unknown", status=200)

    def _refusal(self, request: Request, error: Any) -> ProviderError:
        """Google's refusals mean the same through every client: the native adapter reads them."""
        answer = error.response
        if answer is None:
            said = redact(" ".join(f"{request.model}: {error}".split()), (self.key or "",))
            return ProviderError(Kind.OVERLOADED, said, retryable=True, status=error.code)
        headers = {name.lower(): value for name, value in answer.headers.items()}
        try:
            Gemini(self.base_url, self.key).decode(
                request, HttpReply(answer.status_code, headers, answer.content)
            )
        except ProviderError as refusal:
            return refusal
        return ProviderError(Kind.BAD_BODY, f"{request.model}: {error}", retryable=True)

    def _failure(self, error: Any) -> ProviderError:
        import requests

        if isinstance(error, requests.exceptions.Timeout) and not isinstance(
            error, requests.exceptions.ConnectTimeout
        ):
            return self._too_late()
        if _never_connected(error):
            said = f"{self.base_url}: cannot connect"
            return ProviderError(Kind.UNREACHABLE, said, retryable=True, scope="account", billed="no")
        if isinstance(error, requests.exceptions.JSONDecodeError):
            return ProviderError(Kind.BAD_BODY, "the answer is not JSON", retryable=True, status=200)
        said = f"{self.base_url}: the connection broke ({type(error).__name__})"
        return ProviderError(Kind.CONNECTION, said, retryable=True)

    def _too_late(self) -> ProviderError:
        said = f"{self.base_url}: no answer in {self.timeout:g} s"
        return ProviderError(Kind.TIMEOUT, said, retryable=True)

    def _refuse_unsupported(self, request: Request) -> None:
        able = self.capabilities(request.model)
        asked = {n for n in ("seed", "thinking", "prompt", *SAFE) if getattr(request, n) is not None}
        asked |= {"n"} if request.n > able.max_n else set()
        asked |= {"stop"} if request.stop else set()
        asked |= {"extra"} if request.extra else set()
        for name in sorted(asked - (able.honours - ({"n"} if request.n > able.max_n else set()))):
            raise ProviderError(
                Kind.UNSUPPORTED,
                f"{request.model}: {name} is not honoured by google-generativeai: leave it out, or use the provider gemini",
                scope="model",
                billed="no",
            )


def _contents(request: Request) -> list[dict[str, Any]]:
    roles = {"user": "user", "assistant": "model"}
    said = [m for m in request.messages if m.role in roles]
    return [{"role": roles[m.role], "parts": [{"text": m.content}]} for m in said]


def _system(request: Request) -> dict[str, Any]:
    parts = [{"text": m.content} for m in request.messages if m.role == "system"]
    return {"system_instruction": {"parts": parts}} if parts else {}


def _config(request: Request) -> dict[str, Any]:
    given = {FIELDS.get(n, n): v for n in SAFE if (v := getattr(request, n)) is not None}
    given |= {"candidate_count": request.n} if request.n > 1 else {}
    return given | ({"stop_sequences": list(request.stop)} if request.stop else {})


def _never_connected(error: BaseException | None) -> bool:
    """requests wraps urllib3's errors as arguments: only one that names a new connection never stood."""
    from urllib3.exceptions import NewConnectionError

    reason = getattr(error.args[0], "reason", error.args[0]) if error and error.args else None
    return isinstance(reason, NewConnectionError)
