"""Where models live: adapters for hosted ones, started servers for local and simulated ones.

Together with the command line the only importer of `providers` and of `serve`.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
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
    models = {name: _with_tier(name, _with_facts(model)) for name, model in run.models.items()}
    for name, model in models.items():
        _refuse_thinking(name, model)
    judge = run.judge
    if judge is not None:
        judge = judge.model_copy(update={"model": _with_tier("judge", _with_facts(judge.model))})
    return run.model_copy(update={"models": models, "judge": judge})


def _with_facts(model: Model) -> Model:
    facts = _facts(model)
    missing = {
        key: value for key, value in facts.items() if getattr(model, key) is None and value is not None
    }
    return model.model_copy(update=missing)


def _with_tier(name: str, model: Model) -> Model:
    """The limits of the account's tier where the run file names one and no limit of its own."""
    if model.limits is None or model.limits.tier is None:
        return model
    known = entry.tiers if (entry := catalog.of(model)) else {}
    tier = known.get(model.limits.tier)
    if tier is None:
        mend = (
            f"give one of {', '.join(known)}"
            if known
            else "the catalog knows none: write the limits themselves"
        )
        raise InputError(
            f"models.{name}.limits.tier: no tier {model.limits.tier!r} of {model.model} is known: {mend}"
        )
    own = {key: getattr(model.limits, key) for key in model.limits.model_fields_set}
    return model.model_copy(update={"limits": tier.limits.model_copy(update=own)})


def _refuse_thinking(name: str, model: Model) -> None:
    """A thinking budget that the model cannot keep is refused before anything is asked."""
    named = catalog.listed(model)
    asked = model.provider == "gemini" or named.startswith("gemini-2.5")  # or by way of litellm
    if model.thinking is None or not asked:
        return
    if why := gemini.unthinkable(named, model.thinking):
        raise InputError(
            f"models.{name}.thinking: {model.model}: {why} ({gemini.THINKING_SOURCE}){catalog.told_nearest(model.model)}"
        )


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
    entry = catalog.of(model)
    known = {"price": entry.price(), "params": entry.params} if entry else {}
    return known | (
        {"base_url": gemini.BASE_URL, "key_env": gemini.KEY_ENV} if model.provider in GOOGLES else {}
    )


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
    timeout: float = 600.0  # seconds, one request through a vendor's SDK; the wire has its own

    @contextlib.asynccontextmanager
    async def __call__(
        self, models: Mapping[str, Model], problems: Problems
    ) -> AsyncIterator[dict[str, Endpoint]]:
        async with contextlib.AsyncExitStack() as stack:
            wanted = {self._arguments(m, problems): _environment(m) for m in models.values()}
            urls = await self._started(stack, {args: env for args, env in wanted.items() if args})
            engines = await self._engines(stack, models.values())
            if any(m.provider == "litellm" for m in models.values()):
                stack.push_async_callback(litellm_sdk.close)
            begun = {
                n: urls.get(self._arguments(m, problems)) or engines.get(_engine(m))
                for n, m in models.items()
            }
            watched = {
                u for n, m in models.items() if m.provider == "vllm" for u in m.urls or (begun[n] or "",)
            }
            meters = await stack.enter_async_context(vllm.metered(watched))
            yield {n: self._endpoint(n, m, None if m.urls else begun[n], meters) for n, m in models.items()}

    async def _started(
        self, stack: contextlib.AsyncExitStack, wanted: Mapping[tuple[str, ...], Mapping[str, str]]
    ) -> dict[tuple[str, ...], str]:
        """Our own servers: small checkpoints share a few, since torch takes longer to import than they to load."""
        batches = _together(wanted)
        log = self.directory / "serve.log"
        servers = [process.started(_merged(batch), log=log, env=wanted[batch[0]]) for batch in batches]
        bases = await _enter_all(stack, servers)
        return {
            args: url
            for batch, base in zip(batches, bases, strict=True)
            for args, url in zip(batch, _addresses(base, len(batch)), strict=True)
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

    def _endpoint(
        self, name: str, model: Model, url: str | None, meters: Mapping[str, vllm.Meter]
    ) -> Endpoint:
        """The model's only server, or the first of several with the others beside it."""
        if url:  # a started server has another port each time; the ledger keeps what stays the same
            shown = f"{model.provider}:{Path(model.model).name}"
            return _metered(replace(self._server(name, model, url), address=shown), meters.get(url))
        servers = {u: self._server(name, model, u) for u in model.urls or ("",)}
        first, *others = (_metered(server, meters.get(u)) for u, server in servers.items())
        if not others:
            return first
        able = first.provider.capabilities(model.model)
        for other in others:
            if other.provider.capabilities(model.model) != able:
                raise InputError(
                    f"models.{name}.base_url: {first.address} and {other.address} do not honour the same parameters: "
                    "make them two models"
                )
        return replace(first, others=tuple(others), batcher=None)

    def _server(self, name: str, model: Model, url: str) -> Endpoint:
        secret = key(name, model)
        if model.provider == "gemini":
            native = gemini.Gemini(url, secret)
            return Endpoint(native, url, GeminiBatch(native, url, secret))
        if model.provider == "gemini-legacy":
            return Endpoint(GeminiLegacy(url, secret, self.timeout), url)
        if model.provider == "litellm":
            return Endpoint(litellm_sdk.LiteLLM(url or None, secret, self.timeout), url or "litellm")
        if model.provider == "vllm":
            return Endpoint(vllm.VLLM(url, secret), url)
        compatible = OpenAICompatible(url, secret)
        return Endpoint(compatible, url, None if model.provider == "checkpoint" else OpenAIBatch(compatible))


def _metered(server: Endpoint, meter: vllm.Meter | None) -> Endpoint:
    return server if meter is None else replace(server, full=meter.full)


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
    models = [*run.models.values(), *([run.judge.model] if run.judge else [])]
    return tuple(v for m in models if m.key_env and (v := _secret(m.key_env)))


def _environment(model: Model) -> dict[str, str]:
    """One thread is fastest for small checkpoints, and leaves cores to the others."""
    small = model.provider == "checkpoint" and arms.parameters(Path(model.model)) < 10**7
    return {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"} if small else {}


def _together(wanted: Mapping[tuple[str, ...], Mapping[str, str]]) -> list[list[tuple[str, ...]]]:
    """Whose arguments one server gets: checkpoints that differ in their folder alone are dealt over the cores."""
    alike: dict[tuple[object, ...], list[tuple[str, ...]]] = {}
    for args, env in wanted.items():
        shared = args[2:] if args[0] == "--checkpoint" and env else args
        alike.setdefault((shared, tuple(env.items())), []).append(args)
    cores = os.cpu_count() or 1
    dealt = [group[core::cores] for group in alike.values() for core in range(cores)]
    return [batch for batch in dealt if batch]


def _merged(batch: Sequence[tuple[str, ...]]) -> list[str]:
    """The arguments of the one server of several checkpoints."""
    return [word for args in batch[:-1] for word in args[:2]] + list(batch[-1])


def _addresses(base: str, models: int) -> list[str]:
    """Where each of a server's models answers: the N-th of several under /N/v1."""
    return [base] if models == 1 else [f"{base.removesuffix('/v1')}/{n}/v1" for n in range(models)]


async def _enter_all(
    stack: contextlib.AsyncExitStack, contexts: Iterable[contextlib.AbstractAsyncContextManager[str]]
) -> list[str]:
    """Enter them at the same time: each may take seconds to start."""
    entered = await asyncio.gather(*(stack.enter_async_context(c) for c in contexts), return_exceptions=True)
    for outcome in entered:
        if isinstance(outcome, BaseException):
            raise outcome
    return [url for url in entered if isinstance(url, str)]
