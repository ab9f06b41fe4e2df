"""A simulated provider over HTTP: OpenAI's format and Gemini's in front of one World, one account at /sim/stats."""

import asyncio
import hmac
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from toolkit.errors import Kind, ProviderError
from toolkit.serve import gemini_format, openai_format
from toolkit.serve.batches import Batches
from toolkit.serve.faults import RAW_SEND, SERVED, Script, Sleep, spoiled
from toolkit.serve.openai_format import BadParameter, Served, Tally
from toolkit.serve.window import Window
from toolkit.serve.world import Turn, World, prompt_tokens
from toolkit.serve.world_file import Fault, Hint
from toolkit.types import Reply, Request


def create_app(
    world: World,
    tally: Tally,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Sleep = asyncio.sleep,
) -> Starlette:
    """The world as a server. An answer is billed in `tally` before it leaves, or fails to."""
    face = _Face(world, tally, clock, sleep)
    routes = [
        Route("/v1/chat/completions", face.chat, methods=["POST"]),
        Route("/v1/completions", face.raw, methods=["POST"]),
        Route("/v1/models", face.models),
        Route("/health", face.health),
        Route("/sim/stats", face.stats),
    ]
    for version in ("v1beta", "v1"):
        path = f"/{version}/models/{{model}}"
        routes += [
            Route(f"{path}:generateContent", face.generate, methods=["POST"]),
            Route(f"{path}:countTokens", face.count, methods=["POST"]),
        ]
    routes.append(Route("/v1beta/models", face.gemini_models))
    routes += Batches(world, tally, face.may_enter, clock).routes()
    return _App(routes=routes)


class _App(Starlette):
    """Starlette that remembers the server's own `send`: a scripted reset needs the connection below it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[RAW_SEND] = send
        await super().__call__(scope, receive, send)


class Dialect(Protocol):
    """A wire format: how a request is read and what is said back."""

    def parse(self, raw: bytes) -> Request: ...

    def answer(self, request: Request, reply: Reply) -> dict[str, Any]: ...

    def refusal(self, refusal: ProviderError) -> JSONResponse: ...

    def bad(self, parameter: BadParameter) -> JSONResponse: ...

    def too_many(self, wait: float, hint: Hint | None, headers: Mapping[str, str]) -> JSONResponse: ...


class OpenAI:
    """`/v1/chat/completions` (chat) or `/v1/completions`."""

    def __init__(self, chat: bool, max_n: int) -> None:
        self._chat, self._max_n = chat, max_n

    def parse(self, raw: bytes) -> Request:
        return openai_format.parse(raw, chat=self._chat, max_n=self._max_n)

    def answer(self, request: Request, reply: Reply) -> dict[str, Any]:
        return openai_format.completion(request, reply, chat=self._chat)

    def refusal(self, refusal: ProviderError) -> JSONResponse:
        said = str(refusal)
        match refusal.kind:
            case Kind.KEY:
                return openai_format.error(401, said, code="invalid_api_key")
            case Kind.MODEL:
                return openai_format.error(404, said, param="model", code="model_not_found")
            case Kind.OVERLOADED:
                return openai_format.error(503, said, kind="server_error")
        return openai_format.error(refusal.status or 400, said, param="n")

    def bad(self, parameter: BadParameter) -> JSONResponse:
        return parameter.response()

    def too_many(self, wait: float, hint: Hint | None, headers: Mapping[str, str]) -> JSONResponse:
        waits = {"retry-after": _whole(wait)} if hint in (None, "header") else {}
        said = "Rate limit reached for requests"
        return openai_format.error(
            429, said, kind="requests", code="rate_limit_exceeded", headers={**headers, **waits}
        )


class Gemini:
    """`/v1beta/models/MODEL:generateContent`."""

    def __init__(self, model: str, max_n: int) -> None:
        self._model, self._max_n = model, max_n

    def parse(self, raw: bytes) -> Request:
        return gemini_format.parse(raw, self._model, max_n=self._max_n)

    def answer(self, request: Request, reply: Reply) -> dict[str, Any]:
        return gemini_format.answer(request, reply)

    def refusal(self, refusal: ProviderError) -> JSONResponse:
        if refusal.kind is Kind.KEY:
            return gemini_format.wrong_key()
        status = 503 if refusal.kind is Kind.OVERLOADED else refusal.status or 400
        return gemini_format.error(status, str(refusal))

    def bad(self, parameter: BadParameter) -> JSONResponse:
        return gemini_format.bad(parameter)

    def too_many(self, wait: float, hint: Hint | None, headers: Mapping[str, str]) -> JSONResponse:
        waits = {"retry-after": _whole(wait)} if hint == "header" else {}
        delay = wait if hint in (None, "retry_delay") else None
        said = "You exceeded your current quota, please check your plan and billing details."
        return gemini_format.too_many(said, delay, {**headers, **waits})


class _Face:
    def __init__(self, world: World, tally: Tally, clock: Callable[[], float], sleep: Sleep) -> None:
        self._world, self._tally, self._sleep = world, tally, sleep
        self._largest_n = max(model.max_n for model in world.spec.models.values())
        self._script = Script(world.spec.faults)
        self._windows = {name: Window(model.limits, clock) for name, model in world.spec.models.items()}
        self._rejected: Counter[str] = Counter()
        self._refused = 0

    async def chat(self, http: HttpRequest) -> Response:
        return await self._serve(http, OpenAI(True, self._largest_n))

    async def raw(self, http: HttpRequest) -> Response:
        return await self._serve(http, OpenAI(False, self._largest_n))

    async def generate(self, http: HttpRequest) -> Response:
        return await self._serve(http, self._gemini(http))

    async def count(self, http: HttpRequest) -> Response:
        """Tokens of a prompt, unbilled."""
        dialect = self._gemini(http)
        if not self.may_enter(http):
            return self._marked(gemini_format.wrong_key())
        try:
            request = dialect.parse(await http.body())
            self._world.model(request)
        except BadParameter as bad:
            return self._marked(dialect.bad(bad))
        except ProviderError as refusal:
            return self._marked(dialect.refusal(refusal))
        return JSONResponse({"totalTokens": prompt_tokens(request)})

    async def models(self, http: HttpRequest) -> Response:
        if not self.may_enter(http):
            return self._marked(OpenAI(True, 1).refusal(_wrong_key()))
        listed = [
            {"id": name, "object": "model", "created": 0, "owned_by": "simulated"} for name in self._names()
        ]
        return JSONResponse({"object": "list", "data": listed})

    async def gemini_models(self, http: HttpRequest) -> Response:
        if not self.may_enter(http):
            return self._marked(gemini_format.wrong_key())
        methods = ["generateContent", "countTokens"]
        listed = [{"name": f"models/{name}", "supportedGenerationMethods": methods} for name in self._names()]
        return JSONResponse({"models": listed})

    async def health(self, http: HttpRequest) -> Response:
        return JSONResponse({"status": "ok", "world": self._world.spec.name})

    async def stats(self, http: HttpRequest) -> Response:
        """The account, and beside it the requests refused with a 429."""
        account = self._tally.as_json()
        models = account["models"]
        for name in self._rejected:
            models.setdefault(name, Served().as_json())
        for name, served in models.items():
            served["rejected"] = self._rejected[name]
        return JSONResponse(account | {"rejected": self._rejected.total()})

    async def _serve(self, http: HttpRequest, dialect: Dialect) -> Response:
        if not self.may_enter(http):
            return self._marked(dialect.refusal(_wrong_key()))
        try:
            return await self._respond(dialect.parse(await http.body()), dialect)
        except BadParameter as bad:
            return self._marked(dialect.bad(bad))
        except ProviderError as refusal:
            return self._marked(dialect.refusal(refusal))

    async def _respond(self, request: Request, dialect: Dialect) -> Response:
        fault, faults = self._script.next(), self._world.spec.faults
        serves = fault is None or fault in SERVED or self._script.bills(fault)
        headers: dict[str, str] = {}
        response: Response = Response()
        if serves:
            turn = self._world.turn(_fewer(request) if fault is Fault.FEWER_CANDIDATES else request)
            assert turn.reply.usage is not None
            window = self._windows[request.model]
            wait = window.wait(turn.reply.usage)
            headers = window.headers()
            if wait > 0:
                hint = self._world.spec.models[request.model].limits.rate_limit_hint
                return self._too_many(request, dialect, wait, hint, headers)
            if self._script.bills(fault):
                self._bill(request, turn)
            late = faults.straggler.seconds if fault is Fault.STRAGGLER else 0.0
            if turn.seconds + late > 0:
                await self._sleep(turn.seconds + late)
            headers |= _id(turn.reply.request_id)
            response = JSONResponse(dialect.answer(request, turn.reply), headers=headers)
        if fault is Fault.RATE_LIMIT:
            return self._too_many(request, dialect, faults.retry_after, faults.rate_limit_hint, headers)
        if fault is Fault.OVERLOADED:
            raise ProviderError(Kind.OVERLOADED, "The model is overloaded. Please try again later.")
        return spoiled(response, fault, faults, self._sleep)

    def _bill(self, request: Request, turn: Turn) -> None:
        assert turn.reply.usage is not None
        self._tally.bill(
            request.model,
            turn.reply.usage,
            len(turn.reply.choices),
            turn.pico,
            unmatched=0 if turn.matched else 1,
        )

    def _too_many(
        self, request: Request, dialect: Dialect, wait: float, hint: Hint | None, headers: Mapping[str, str]
    ) -> Response:
        self._rejected[request.model] += 1
        return self._marked(dialect.too_many(wait, hint, headers))

    def _gemini(self, http: HttpRequest) -> Gemini:
        model = http.path_params["model"]
        known = self._world.spec.models.get(model)
        return Gemini(model, min(known.max_n if known else 1, gemini_format.MOST_CANDIDATES))

    def _names(self) -> list[str]:
        return list(self._world.spec.models)

    def may_enter(self, http: HttpRequest) -> bool:
        key = self._world.spec.key
        given = http.headers.get("authorization", "").removeprefix("Bearer ")
        given = http.headers.get("x-goog-api-key") or http.query_params.get("key") or given
        return key is None or hmac.compare_digest(given.encode(), key.encode())

    def _marked(self, refusal: JSONResponse) -> JSONResponse:
        """A refused request has an id too, apart from those of billed ones."""
        self._refused += 1
        refusal.headers.update(_id(f"sim-refused-{self._refused:06d}"))
        return refusal


def _fewer(request: Request) -> Request:
    return replace(request, n=max(1, request.n // 2))


def _wrong_key() -> ProviderError:
    return ProviderError(Kind.KEY, "Incorrect API key provided", billed="no")


def _whole(seconds: float) -> str:
    """Whole seconds, as Retry-After wants them (RFC 9110 section 10.2.3)."""
    return str(math.ceil(seconds))


def _id(request_id: str) -> dict[str, str]:
    return {"x-request-id": request_id}
