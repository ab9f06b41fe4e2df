"""A local Hugging Face checkpoint behind the OpenAI format, for pipelines without a key or a GPU.

Requests that wait are decoded together (see `batch`). With a `seed`, choice i of a request is drawn from
noise that depends on (seed, i) alone, so asking again gives the same texts, alone or in company.
"""

import asyncio
import itertools
import queue
import secrets
import threading
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from transformers import AutoModelForCausalLM, AutoTokenizer

from toolkit.serve.batch import Batch, Row, row_of
from toolkit.serve.openai_format import BadParameter, Tally, completion, error, parse
from toolkit.types import Choice, Finish, Reply, Request, Usage

ROWS = 128  # rows decoded together
DEFAULT_TOKENS = 1024  # `max_tokens` where a request has none
SMALL = 10_000_000  # parameters; below, one thread decodes faster than several

_turn = (
    threading.Lock()
)  # engines of one process decode in turn: their threads would only fight for the interpreter
_unseeded = itertools.count(secrets.randbits(63))


@dataclass(slots=True, eq=False)
class Job:
    """One request in the engine."""

    request: Request
    prompt: list[int]
    rows: list[Row]
    reply: "Future[Reply]" = field(default_factory=Future)
    choices: dict[int, Choice] = field(default_factory=dict)


class Engine:
    """One checkpoint and the thread that decodes it."""

    def __init__(self, path: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(path)
        self.model = AutoModelForCausalLM.from_pretrained(
            path, dtype=torch.float32, attn_implementation="grouped"
        ).eval()
        self.context: int = self.model.config.get_text_config().max_position_embeddings
        self._ends = _ends(self.model, self.tokenizer)
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._next: Job | None = None  # taken from the queue, waiting for room
        self._active: dict[Row, tuple[Job, int]] = {}
        self._pieces: dict[int, str] = {}  # text of a token alone
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"decode {path.name}", daemon=True)
        self._thread.start()

    def submit(self, request: Request) -> "Future[Reply]":
        """Queues a request; raises BadParameter where the checkpoint cannot answer it."""
        prompt = self._prompt(request)
        if not prompt:
            raise BadParameter("prompt", "the prompt has no tokens")
        room = self.context - len(prompt)
        if room < 1:
            text = f"the prompt has {len(prompt)} tokens, the context window of this model {self.context}"
            raise BadParameter(
                "messages" if request.messages else "prompt", text, code="context_length_exceeded"
            )
        budget = min(request.max_tokens or DEFAULT_TOKENS, room)
        seed = next(_unseeded) if request.seed is None else request.seed
        job = Job(request, prompt, [row_of(request, seed, i, budget) for i in range(request.n)])
        self._jobs.put(job)
        return job.reply

    def close(self) -> None:
        self._closed = True
        self._jobs.put(None)
        self._thread.join()

    def _prompt(self, request: Request) -> list[int]:
        if request.prompt is not None:
            return list(self.tokenizer(request.prompt).input_ids)
        if not self.tokenizer.chat_template:
            raise BadParameter("messages", "this checkpoint has no chat template: use /v1/completions")
        if not all(isinstance(m.content, str) for m in request.messages):
            raise BadParameter("messages", "the content of a message must be a string")
        turns = [{"role": m.role, "content": m.content} for m in request.messages]
        try:
            text = self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        except TemplateError as refused:
            raise BadParameter("messages", f"the chat template refuses the messages: {refused}") from None
        return list(self.tokenizer(text, add_special_tokens=False).input_ids)

    @torch.inference_mode()
    def _run(self) -> None:
        if self.model.num_parameters() < SMALL:
            torch.set_num_threads(1)
        batch = self._empty()
        while not self._closed:
            try:
                jobs = self._admit(len(batch.rows))
                self._active |= {row: (job, i) for job in jobs for i, row in enumerate(job.rows)}
                with _turn:
                    self._step(batch, jobs)
            except Exception as failure:  # the requests in flight fail, the server lives on
                for job in {job for job, _ in self._active.values()}:
                    job.reply.set_exception(failure)
                self._active.clear()
                batch = self._empty()

    def _step(self, batch: Batch, jobs: list[Job]) -> None:
        """One token of every row, those of the new jobs included."""
        if jobs:
            batch.join([job.prompt for job in jobs], [job.rows for job in jobs])
        if batch.rows:
            batch.draw()
            self._settle(batch)
            batch.advance()

    def _empty(self) -> Batch:
        pad = self.tokenizer.pad_token_id
        return Batch(self.model, 0 if pad is None else pad)

    def _admit(self, busy: int) -> list[Job]:
        """The waiting jobs there is room for, in order; waits for one where nothing is in flight."""
        jobs: list[Job] = []
        while True:
            if self._next is None:
                try:
                    self._next = self._jobs.get(block=not busy)
                except queue.Empty:
                    return jobs
            if self._next is None or (busy and busy + len(self._next.rows) > ROWS):
                return jobs
            if self._next.reply.set_running_or_notify_cancel():
                busy += len(self._next.rows)
                jobs.append(self._next)
            self._next = None

    def _settle(self, batch: Batch) -> None:
        for row in batch.rows:
            if row.done:
                continue
            job, index = self._active[row]
            choice = self._choice(job.request, row)
            if choice is None:
                continue
            row.done = True
            del self._active[row]
            job.choices[index] = choice
            if len(job.choices) == len(job.rows):
                job.reply.set_result(_reply(job))

    def _choice(self, request: Request, row: Row) -> Choice | None:
        """The finished choice, or None while it goes on."""
        ended, full = row.tokens[-1] in self._ends, len(row.tokens) == len(row.noise)
        if not (ended or full or self._may_end(request.stop, row.tokens[-1])):
            return None
        text: str = self.tokenizer.decode(row.tokens, skip_special_tokens=True)
        cuts = [cut for stop in request.stop if stop and (cut := text.find(stop)) >= 0]
        if cuts:
            return Choice(text[: min(cuts)], Finish.STOP)
        if ended:
            return Choice(text, Finish.STOP)
        return Choice(text, Finish.LENGTH) if full else None

    def _may_end(self, stops: tuple[str, ...], token: int) -> bool:
        """Whether `token` can complete a stop string; decoding the whole row at each token would be dear."""
        if not stops:
            return False
        if token not in self._pieces:
            self._pieces[token] = self.tokenizer.decode([token], skip_special_tokens=True)
        piece = self._pieces[token]
        return "\ufffd" in piece or any(stop[-1:] in piece for stop in stops)


def _ends(model: Any, tokenizer: Any) -> frozenset[int]:
    ends = model.generation_config.eos_token_id
    ends = tokenizer.eos_token_id if ends is None else ends
    return frozenset(ends if isinstance(ends, list) else [] if ends is None else [ends])


def _reply(job: Job) -> Reply:
    return Reply(
        choices=tuple(job.choices[i] for i in range(len(job.rows))),
        usage=Usage(prompt=len(job.prompt), output=sum(len(row.tokens) for row in job.rows)),
        model_version=job.request.model,
        request_id=f"cmpl-{secrets.token_hex(12)}",
    )


def create_app(
    checkpoints: Mapping[str, Path], tally: Tally, prices: Mapping[str, tuple[int, int]] = {}
) -> Starlette:
    """An app that serves each checkpoint under its name. Prices are picodollars per input and output
    token by name; a model without one is free.
    """
    engines = {name: Engine(path) for name, path in checkpoints.items()}

    async def answer(http: HttpRequest) -> Response:
        chat = http.url.path.endswith("/chat/completions")  # several are mounted under a prefix
        try:
            request = parse(await http.body(), chat=chat, max_n=ROWS)
            if request.model not in engines:
                known = ", ".join(engines)
                text = f"no model {request.model!r} here: {known}"
                raise BadParameter("model", text, status=404, code="model_not_found")
            pending = engines[request.model].submit(request)
        except BadParameter as refused:
            return refused.response()
        try:
            reply = await asyncio.wrap_future(pending)
        except Exception as failure:
            return error(500, f"decoding failed: {failure}", kind="server_error")
        assert reply.usage is not None
        per_input, per_output = prices.get(request.model, (0, 0))
        pico = reply.usage.prompt * per_input + reply.usage.output * per_output
        tally.bill(request.model, reply.usage, len(reply.choices), pico)
        return JSONResponse(completion(request, reply, chat=chat))

    async def models(_: HttpRequest) -> Response:
        listed = [{"id": name, "object": "model", "owned_by": "local"} for name in engines]
        return JSONResponse({"object": "list", "data": listed})

    async def health(_: HttpRequest) -> Response:
        return JSONResponse({"status": "ok"})

    async def stats(_: HttpRequest) -> Response:
        return JSONResponse(tally.as_json())

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        for engine in engines.values():
            engine.close()

    return Starlette(
        routes=[
            Route("/v1/chat/completions", answer, methods=["POST"]),
            Route("/v1/completions", answer, methods=["POST"]),
            Route("/v1/models", models),
            Route("/health", health),
            Route("/sim/stats", stats),
        ],
        lifespan=lifespan,
    )
