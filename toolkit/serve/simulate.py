"""A simulated provider over HTTP: the OpenAI format in front of a World, and its account at /sim/stats."""

import asyncio
import hmac

from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from toolkit.errors import Kind, ProviderError
from toolkit.serve.openai_format import BadParameter, Tally, completion, error, parse
from toolkit.serve.world import World


def create_app(world: World, tally: Tally) -> Starlette:
    """The world as a server. An answer is billed in `tally` before it leaves."""
    face = _Face(world, tally)
    return Starlette(
        routes=[
            Route("/v1/chat/completions", face.chat, methods=["POST"]),
            Route("/v1/completions", face.raw, methods=["POST"]),
            Route("/v1/models", face.models),
            Route("/health", face.health),
            Route("/sim/stats", face.stats),
        ]
    )


class _Face:
    def __init__(self, world: World, tally: Tally) -> None:
        self._world, self._tally = world, tally
        self._largest_n = max(model.max_n for model in world.spec.models.values())
        self._refused = 0

    async def chat(self, http: HttpRequest) -> Response:
        return await self._complete(http, chat=True)

    async def raw(self, http: HttpRequest) -> Response:
        return await self._complete(http, chat=False)

    async def models(self, http: HttpRequest) -> Response:
        if not self._may_enter(http):
            return self._wrong_key()
        listed = [
            {"id": name, "object": "model", "created": 0, "owned_by": "simulated"} for name in self._names()
        ]
        return JSONResponse({"object": "list", "data": listed})

    async def health(self, http: HttpRequest) -> Response:
        return JSONResponse({"status": "ok", "world": self._world.spec.name})

    async def stats(self, http: HttpRequest) -> Response:
        return JSONResponse(self._tally.as_json())

    async def _complete(self, http: HttpRequest, *, chat: bool) -> Response:
        if not self._may_enter(http):
            return self._wrong_key()
        try:
            request = parse(await http.body(), chat=chat, max_n=self._largest_n)
            turn = self._world.turn(request)
        except BadParameter as bad:
            return self._marked(bad.response())
        except ProviderError as refusal:
            return self._marked(_refusal(refusal))
        assert turn.reply.usage is not None
        unmatched = 0 if turn.matched else 1
        self._tally.bill(request.model, turn.reply.usage, request.n, turn.pico, unmatched=unmatched)
        if turn.seconds > 0:
            await asyncio.sleep(turn.seconds)
        return JSONResponse(completion(request, turn.reply, chat=chat), headers=_id(turn.reply.request_id))

    def _names(self) -> list[str]:
        return list(self._world.spec.models)

    def _may_enter(self, http: HttpRequest) -> bool:
        key = self._world.spec.key
        given = http.headers.get("authorization", "")
        return key is None or hmac.compare_digest(given.encode(), f"Bearer {key}".encode())

    def _wrong_key(self) -> Response:
        return self._marked(error(401, "Incorrect API key provided", code="invalid_api_key"))

    def _marked(self, refusal: JSONResponse) -> JSONResponse:
        """A refused request has an id too, apart from those of billed ones."""
        self._refused += 1
        refusal.headers.update(_id(f"sim-refused-{self._refused:06d}"))
        return refusal


def _refusal(refusal: ProviderError) -> JSONResponse:
    if refusal.kind is Kind.MODEL:
        return error(404, str(refusal), param="model", code="model_not_found")
    return error(refusal.status or 400, str(refusal), param="n")


def _id(request_id: str) -> dict[str, str]:
    return {"x-request-id": request_id}
