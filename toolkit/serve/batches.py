"""The simulated provider's batch APIs: OpenAI's files and batches, Gemini's inlined requests.

A batch is worked on when it is submitted, and billed then at the batch price; its results can be seen after
`batch.processing` seconds. What expires or fails is not billed. With a journal, batches outlive the server.
"""

import itertools
import json
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from toolkit import cost
from toolkit.errors import ProviderError
from toolkit.serve import gemini_format, openai_format
from toolkit.serve.openai_format import BadParameter, Tally
from toolkit.serve.world import World
from toolkit.types import Reply, Request

ENDPOINTS = {"/v1/chat/completions": True, "/v1/completions": False}  # and whether it is a chat
BOUNDARY = re.compile(r'boundary="?([^";]+)"?')
MOST_LISTED = 100

Handler = Callable[[HttpRequest], Any]


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of one part."""

    key: str
    fate: Literal["served", "failed", "expired"]
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Batch:
    id: str
    ready: float  # when its results can be seen, by the clock
    outcomes: tuple[_Outcome, ...]
    mark: Any  # OpenAI's metadata, Gemini's displayName
    facts: Mapping[str, Any]  # shown as they are
    refused: str = ""  # why it failed as a whole

    def of(self, *fates: str) -> list[_Outcome]:
        return [o for o in self.outcomes if o.fate in fates]


class Batches:
    """Both faces over one world; `admitted` says whether a request has the right key."""

    def __init__(
        self,
        world: World,
        tally: Tally,
        admitted: Callable[[HttpRequest], bool],
        clock: Callable[[], float],
    ) -> None:
        self._world, self._tally, self._admitted, self._clock = world, tally, admitted, clock
        self._files: dict[str, bytes] = {}
        self._openai: dict[str, _Batch] = {}
        self._gemini: dict[str, _Batch] = {}
        self._parts = itertools.count()
        self._kept = tally.journal.with_suffix(".batches") if tally.journal else None
        for file in sorted(self._kept.glob("*.json"), key=lambda f: int(f.stem)) if self._kept else ():
            batch = _restored(file)
            (self._gemini if batch.id.startswith("batches/") else self._openai)[batch.id] = batch
        self._uploads = itertools.count()

    def routes(self) -> list[Route]:
        openai, gemini = self._guarded(openai_format.error), self._guarded(gemini_format.error)
        model = "/v1beta/models/{model}:batchGenerateContent"
        return [
            Route("/v1/files", openai(self._upload), methods=["POST"]),
            Route("/v1/files/{id}/content", openai(self._content)),
            Route("/v1/batches", openai(self._create), methods=["POST"]),
            Route("/v1/batches", openai(self._list)),
            Route("/v1/batches/{id}", openai(self._show)),
            Route(model, gemini(self._generate), methods=["POST"]),
            Route("/v1beta/batches", gemini(self._operations)),
            Route("/v1beta/batches/{id}", gemini(self._operation)),
        ]

    def _guarded(self, error: Callable[[int, str], Response]) -> Callable[[Handler], Handler]:
        def with_key(handler: Handler) -> Handler:
            async def handle(http: HttpRequest) -> Response:
                if not self._admitted(http):
                    return error(401, "Incorrect API key provided")
                try:
                    return await handler(http)  # type: ignore[no-any-return]
                except BadParameter as bad:
                    return error(400, str(bad))
                except KeyError as unknown:
                    return error(404, f"No such thing: {unknown}")

            return handle

        return with_key

    # -- OpenAI

    async def _upload(self, http: HttpRequest) -> Response:
        form = _form(http.headers.get("content-type", ""), await http.body())
        if form.get("purpose") != b"batch":
            raise BadParameter("purpose", "'purpose' must be batch")
        file = f"file-{next(self._uploads)}"
        self._files[file] = form["file"]
        return JSONResponse({"id": file, "object": "file", "bytes": len(form["file"]), "purpose": "batch"})

    async def _content(self, http: HttpRequest) -> Response:
        return Response(self._files[http.path_params["id"]], media_type="application/octet-stream")

    async def _create(self, http: HttpRequest) -> Response:
        asked = _object(await http.body())
        endpoint, file = asked.get("endpoint"), asked.get("input_file_id")
        if endpoint not in ENDPOINTS:
            raise BadParameter("endpoint", f"'endpoint' must be one of {', '.join(ENDPOINTS)}")
        if asked.get("completion_window") != "24h":
            raise BadParameter("completion_window", "'completion_window' must be 24h")
        lines = [_object(line) for line in self._files[str(file)].splitlines() if line.strip()]
        facts = {"endpoint": endpoint, "input_file_id": file, "completion_window": "24h"}
        batch = self._work(
            f"batch_{self._held}",
            [(str(one["custom_id"]), json.dumps(one["body"]).encode()) for one in lines],
            lambda raw: openai_format.parse(raw, chat=ENDPOINTS[endpoint], max_n=1024),
            lambda request, reply: openai_format.completion(request, reply, chat=ENDPOINTS[endpoint]),
            asked.get("metadata"),
            facts,
        )
        self._openai[batch.id] = batch
        return JSONResponse(self._as_openai(batch))

    async def _list(self, http: HttpRequest) -> Response:
        newest = list(reversed(self._openai.values()))
        after, limit = http.query_params.get("after"), int(http.query_params.get("limit", "20"))
        start = next((i + 1 for i, b in enumerate(newest) if b.id == after), 0)
        page = newest[start : start + min(limit, MOST_LISTED)]
        more = start + len(page) < len(newest)
        return JSONResponse({"object": "list", "data": [self._as_openai(b) for b in page], "has_more": more})

    async def _show(self, http: HttpRequest) -> Response:
        return JSONResponse(self._as_openai(self._openai[http.path_params["id"]]))

    def _as_openai(self, batch: _Batch) -> dict[str, Any]:
        shown = {"id": batch.id, "object": "batch", "metadata": batch.mark, **batch.facts}
        if batch.refused:
            return shown | {"status": "failed", "errors": {"data": [{"message": batch.refused}]}}
        if self._clock() < batch.ready:
            return shown | {"status": "in_progress"}
        files = {}
        for name, fates in (("output", ("served",)), ("error", ("failed", "expired"))):
            if found := batch.of(*fates):
                files[f"{name}_file_id"] = file = f"{batch.id}-{name}"
                self._files[file] = b"\n".join(_line(o) for o in found)
        return shown | files | {"status": "expired" if batch.of("expired") else "completed"}

    # -- Gemini

    async def _generate(self, http: HttpRequest) -> Response:
        asked = _object(await http.body()).get("batch") or {}
        model = http.path_params["model"]
        parts = asked["inputConfig"]["requests"]["requests"]
        batch = self._work(
            f"batches/{self._held}",
            [(one["metadata"]["key"], json.dumps(one["request"]).encode()) for one in parts],
            lambda raw: gemini_format.parse(raw, model),
            gemini_format.answer,
            asked["displayName"],
            {"model": f"models/{model}"},
        )
        self._gemini[batch.id] = batch
        return JSONResponse(self._as_operation(batch))

    async def _operations(self, http: HttpRequest) -> Response:
        start, size = (
            int(http.query_params.get(name, at)) for name, at in (("pageToken", 0), ("pageSize", 10))
        )
        held = list(reversed(self._gemini.values()))
        page = {"operations": [self._as_operation(b) for b in held[start : start + size]]}
        more = {"nextPageToken": str(start + size)} if start + size < len(held) else {}
        return JSONResponse(page | more)

    async def _operation(self, http: HttpRequest) -> Response:
        return JSONResponse(self._as_operation(self._gemini[f"batches/{http.path_params['id']}"]))

    def _as_operation(self, batch: _Batch) -> dict[str, Any]:
        def shown(state: str, **more: Any) -> dict[str, Any]:
            facts = {**batch.facts, "displayName": batch.mark, "state": f"BATCH_STATE_{state}"}
            return {"name": batch.id, "metadata": facts, **more}

        if batch.refused:
            return shown("FAILED", done=True, error={"code": 3, "message": batch.refused})
        if self._clock() < batch.ready:
            return shown("RUNNING")
        answers = [_inlined(o) for o in batch.outcomes]
        return shown("SUCCEEDED", done=True, response={"inlinedResponses": {"inlinedResponses": answers}})

    # -- the work

    def _work(
        self,
        name: str,
        parts: list[tuple[str, bytes]],
        parse: Callable[[bytes], Request],
        say: Callable[[Request, Reply], dict[str, Any]],
        mark: Any,
        facts: Mapping[str, Any],
    ) -> _Batch:
        spec = self._world.spec.batch
        ready = self._clock() + spec.processing
        if self._held < spec.refused:
            return _Batch(name, ready, (), mark, facts, "Enqueued token limit reached")
        bills: list[Callable[[], None]] = []
        outcomes = tuple(self._serve(key, raw, parse, say, bills) for key, raw in parts)
        batch = _Batch(name, ready, outcomes, mark, facts)
        self._keep(batch)
        for bill in bills:
            bill()
        return batch

    @property
    def _held(self) -> int:
        return len(self._openai) + len(self._gemini)

    def _keep(self, batch: _Batch) -> None:
        """Beside the journal, before anything is billed: what was billed can always be collected."""
        if self._kept:
            self._kept.mkdir(parents=True, exist_ok=True)
            file = self._kept / f"{self._held}.json"
            draft = file.with_suffix(".tmp")
            draft.write_text(json.dumps(asdict(batch)))
            draft.replace(file)

    def _serve(
        self,
        key: str,
        raw: bytes,
        parse: Callable[[bytes], Request],
        say: Callable[[Request, Reply], dict[str, Any]],
        bills: list[Callable[[], None]],
    ) -> _Outcome:
        spec = self._world.spec
        chance = random.Random(f"{spec.seed}/batch part {next(self._parts)}").random()
        if chance < spec.batch.expired:
            return _Outcome(key, "expired", {})
        if chance < spec.batch.expired + spec.batch.failed:
            return _Outcome(key, "failed", {"code": 500, "message": "The model failed"})
        try:
            request = parse(raw)
            price = self._world.model(request).price
            if price.batch is None:
                raise BadParameter("model", f"{request.model} has no batch price")
            turn = self._world.turn(request)
        except (BadParameter, ProviderError) as refusal:
            return _Outcome(key, "failed", {"code": refusal.status or 400, "message": str(refusal)})
        usage = turn.reply.usage
        assert usage is not None
        pico = cost.price(cost.in_batches(price)).cost(usage)
        model, draws, unmatched = request.model, len(turn.reply.choices), 0 if turn.matched else 1
        bills.append(lambda: self._tally.bill(model, usage, draws, pico, unmatched=unmatched))
        return _Outcome(key, "served", say(request, turn.reply))


def _restored(file: Path) -> _Batch:
    """A batch of an earlier server, done by now."""
    kept = json.loads(file.read_text())
    outcomes = tuple(_Outcome(**o) for o in kept.pop("outcomes"))
    return _Batch(**(kept | {"outcomes": outcomes, "ready": float("-inf")}))


def _line(outcome: _Outcome) -> bytes:
    """One line of an output or error file."""
    shown: dict[str, Any] = {"id": f"batch_req_{outcome.key}", "custom_id": outcome.key, "response": None}
    if outcome.fate == "expired":
        shown["error"] = {"code": "batch_expired", "message": "This request could not be executed in time."}
    else:
        status = 200 if outcome.fate == "served" else outcome.body["code"]
        body = outcome.body if status == 200 else {"error": outcome.body}
        shown |= {"error": None, "response": {"status_code": status, "request_id": "req", "body": body}}
    return json.dumps(shown).encode()


def _inlined(outcome: _Outcome) -> dict[str, Any]:
    metadata = {"key": outcome.key}
    if outcome.fate == "served":
        return {"metadata": metadata, "response": outcome.body}
    if outcome.fate == "expired":
        return {"metadata": metadata, "error": {"code": 4, "message": "deadline exceeded"}}
    code = 13 if outcome.body["code"] == 500 else 3
    return {"metadata": metadata, "error": {"code": code, "message": outcome.body["message"]}}


def _object(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise BadParameter("body", "the body is not a JSON object")
    return body


def _form(kind: str, raw: bytes) -> dict[str, bytes]:
    """The fields of a multipart form (RFC 7578)."""
    found = BOUNDARY.search(kind)
    if found is None:
        raise BadParameter("body", "the body is not a multipart form")
    fields = {}
    for part in raw.split(b"--" + found[1].encode())[1:-1]:
        head, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        if name := re.search(rb'[; ]name="([^"]+)"', head):
            fields[name[1].decode()] = content.removesuffix(b"\r\n")
    return fields
