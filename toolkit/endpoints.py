"""Where models live: adapters for hosted ones, started servers for local and simulated ones.

Together with the command line the only importer of `providers` and of `serve`.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dotenv import dotenv_values

from providers import gemini, litellm_sdk, vllm
from providers.gemini_batch import GeminiBatch
from providers.gemini_legacy import GeminiLegacy
from providers.openai_batch import OpenAIBatch
from providers.openai_compatible import OpenAICompatible
from toolkit import arms, catalog
from toolkit.errors import InputError
from toolkit.job import Endpoint
from toolkit.serve import process
from toolkit.serve.world_file import load_world
from toolkit.spec import Expect, Limits, Model, Problems, Run

GOOGLES = ("gemini", "gemini-legacy")  # providers of the Gemini API
LOCAL_CONCURRENCY = 24  # requests in flight to our own checkpoint server: enough to keep its batch full


def resolve(run: Run) -> Run:
    """The run with prices, parameters and expectations filled in: run file > world > catalog."""
    models = {name: _with_facts(model) for name, model in run.models.items()}
    return run.model_copy(update={"models": models})


def _with_facts(model: Model) -> Model:
    facts = _facts(model)
    missing = {
        key: value for key, value in facts.items() if getattr(model, key) is None and value is not None
    }
    return model.model_copy(update=missing)


def _facts(model: Model) -> dict[str, object]:
    if model.provider == "simulated":
        return _world_facts(model)
    if model.provider == "checkpoint":
        folder = Path(model.model)
        if not folder.is_dir():
            raise InputError(
                f"models: {model.model}: no such folder: a checkpoint model names a saved checkpoint"
            )
        return {"params": arms.parameters(folder), "limits": Limits(concurrency=LOCAL_CONCURRENCY)}
    if model.provider == "vllm" and Path(model.model).is_dir():
        return {"params": arms.parameters(Path(model.model))}
    entry = catalog.find(_listed(model))
    known = {"price": entry.price(), "params": entry.params} if entry else {}
    return known | (
        {"base_url": gemini.BASE_URL, "key_env": gemini.KEY_ENV} if model.provider in GOOGLES else {}
    )


def _listed(model: Model) -> str:
    """The catalog's name. litellm puts the vendor first; other vendors' prices of a model may differ."""
    own = model.provider == "litellm" and model.model.startswith(("openai/", "gemini/"))
    return model.model.partition("/")[2] if own else model.model


def _world_facts(model: Model) -> dict[str, object]:
    world = load_world(model.world or "")
    known = world.models.get(model.model)
    if known is None:
        raise InputError(
            f"{model.world}: no model {model.model!r} in this world: give one of {', '.join(world.models)}"
        )
    return {
        "price": known.price.model_copy(update={"source": f"world {world.name}"}),
        "params": int(known.params) if known.params else None,
        "expect": Expect(output=known.tokens.mean, thinking=known.thinking.mean),
        "draws_per_request": known.max_n,
    }


@dataclass(frozen=True, slots=True)
class Connections:
    """Opens endpoints for a run; the pipeline calls it without knowing what stands behind."""

    directory: Path  # logs and journals of started servers go here

    @contextlib.asynccontextmanager
    async def __call__(
        self, models: Mapping[str, Model], problems: Problems
    ) -> AsyncIterator[dict[str, Endpoint]]:
        async with contextlib.AsyncExitStack() as stack:
            servers = {
                args: process.started(args, log=self.directory / "serve.log", env=env)
                for args, env in {
                    self._arguments(m, problems): _environment(m) for m in models.values()
                }.items()
                if args
            }
            urls = dict(zip(servers, await _enter_all(stack, servers.values()), strict=True))
            engines = await self._engines(stack, models.values())
            if any(m.provider == "litellm" for m in models.values()):
                stack.push_async_callback(litellm_sdk.close)
            yield {
                name: self._endpoint(
                    name, m, urls.get(self._arguments(m, problems)) or engines.get(_engine(m))
                )
                for name, m in models.items()
            }

    async def _engines(
        self, stack: contextlib.AsyncExitStack, models: Iterable[Model]
    ) -> dict[tuple[object, ...], str]:
        """The vLLM servers to start, one after another: each measures the memory the others leave it."""
        urls: dict[tuple[object, ...], str] = {}
        for m in models:
            if m.provider == "vllm" and not m.base_url and _engine(m) not in urls:
                log = self.directory / f"vllm-{len(urls)}.log"
                server = vllm.started(m.model, m.serve_args, log=log, port=m.port)
                urls[_engine(m)] = await stack.enter_async_context(server)
        return urls

    def _arguments(self, model: Model, problems: Problems) -> tuple[str, ...]:
        """What starts this model's server; equal arguments share one server, none needs no server."""
        journal = ("--journal", str(self.directory / "served.jsonl"))
        if model.provider == "checkpoint":
            price = ("--price", f"{model.price.input},{model.price.output}") if model.price else ()
            return ("--checkpoint", model.model, *price, *journal)
        if model.provider == "simulated":
            limit = ("--limit", str(problems.limit)) if problems.limit else ()
            return (
                "--simulate",
                model.world or "",
                "--problems",
                problems.source,
                "--split",
                problems.split,
                "--offset",
                str(problems.offset),
                "--problem-seed",
                str(problems.seed),
                *limit,
                *journal,
            )
        return ()

    def _endpoint(self, name: str, model: Model, url: str | None) -> Endpoint:
        address = url or model.base_url or ""
        # A started server has another port each time; the ledger keeps what stays the same.
        shown = f"{model.provider}:{Path(model.model).name}" if url else address
        if model.provider == "gemini":
            native = gemini.Gemini(address, key(name, model))
            return Endpoint(native, shown, GeminiBatch(native, address, native.key))
        if model.provider == "gemini-legacy":
            return Endpoint(GeminiLegacy(address, key(name, model)), shown)
        if model.provider == "litellm":
            return Endpoint(litellm_sdk.LiteLLM(model.base_url, key(name, model)), address or "litellm")
        if model.provider == "vllm":
            return Endpoint(vllm.VLLM(address, key(name, model)), shown)
        compatible = OpenAICompatible(address, key(name, model))
        return Endpoint(
            compatible, shown, None if model.provider == "checkpoint" else OpenAIBatch(compatible)
        )


def _engine(model: Model) -> tuple[object, ...]:
    """What tells one vLLM server from another; equal ones are shared."""
    return (model.model, model.serve_args, model.port)


def key(name: str, model: Model) -> str | None:
    """The model's key from the environment."""
    if model.key_env is None:
        return None
    found = _secret(model.key_env)
    if not found:
        raise InputError(
            f"models.{name}.key_env: {model.key_env} is neither set in the environment nor in .env: export it first"
        )
    return found


def _secret(variable: str) -> str | None:
    """From the environment, else from `.env` in the working directory; it is never put into the environment."""
    return os.environ.get(variable) or dotenv_values(".env").get(variable)


def secrets(run: Run) -> tuple[str, ...]:
    """Every key the run knows, to be kept out of what is stored."""
    return tuple(v for m in run.models.values() if m.key_env and (v := _secret(m.key_env)))


def _environment(model: Model) -> dict[str, str]:
    """One thread is fastest for small checkpoints, and leaves cores to the others."""
    small = model.provider == "checkpoint" and arms.parameters(Path(model.model)) < 10**7
    return {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"} if small else {}


async def _enter_all(
    stack: contextlib.AsyncExitStack, contexts: Iterable[contextlib.AbstractAsyncContextManager[str]]
) -> list[str]:
    """Enter them at the same time: each may take seconds to start."""
    entered = await asyncio.gather(*(stack.enter_async_context(c) for c in contexts), return_exceptions=True)
    for outcome in entered:
        if isinstance(outcome, BaseException):
            raise outcome
    return [url for url in entered if isinstance(url, str)]
