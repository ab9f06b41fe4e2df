"""How much of a rate limit is used, and how many requests are refused, at true time scale.

A server enforces requests and tokens over any 60 seconds, by its own clock, on arrival; the real sampler
asks it over real HTTP into a real ledger. Counted are the minutes after the first. All cases run at once.

    python tests/bench/limits.py                       # 4 minutes
    python tests/bench/limits.py --curator PYTHON --litellm PYTHON --peers FOLDER   # of bench scripts

A peer's environment is the caller's: curator needs TIKTOKEN_CACHE_DIR where there is no network.
Cases: limits known (requests bind; tokens bind), learned from headers, and learned from bare 429s.
The last line is one JSON object. A peer without an interpreter is null.
"""

import argparse
import asyncio
import contextlib
import json
import random
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any
from urllib.request import urlopen

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request as Asked
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from providers.openai_compatible import OpenAICompatible
from toolkit import arms, sample
from toolkit.arms import Arm
from toolkit.ledger import Ledger
from toolkit.sample import Progress
from toolkit.spec import Decoding, Expect, Limits, Model, Price
from toolkit.types import Problem
from toolkit.wire import Wire

HERE = Path(__file__).resolve()
TASK = Template("$question Think step by step.")
REQUESTS, ROOMY, TIGHT = 600, 150_000, 90_000  # per minute; a request uses 190 tokens on average
PROMPT, SHORT, LONG = 40, 50, 250  # tokens
LATENCY = (0.1, 0.6)  # seconds


# -- the server


@dataclass
class Enforcer:
    """Requests and tokens of the last 60 seconds."""

    requests: int
    tokens: int
    log: deque[tuple[float, int]] = field(default_factory=deque)
    used: int = 0
    history: list[tuple[float, int]] = field(default_factory=list)  # (seconds, tokens); 0 tokens: refused
    started: float | None = None

    def admit(self, tokens: int) -> bool:
        now = time.monotonic()
        self.started = now if self.started is None else self.started
        while self.log and self.log[0][0] <= now - 60:
            self.used -= self.log.popleft()[1]
        allowed = len(self.log) < self.requests and self.used + tokens <= self.tokens
        if allowed:
            self.log.append((now, tokens))
            self.used += tokens
        self.history.append((now - self.started, tokens if allowed else 0))
        return allowed

    def headers(self) -> dict[str, str]:
        reset = f"{max(0.0, self.log[-1][0] + 60 - time.monotonic()):.3f}s" if self.log else "0s"
        return {
            "x-ratelimit-limit-requests": str(self.requests),
            "x-ratelimit-limit-tokens": str(self.tokens),
            "x-ratelimit-remaining-requests": str(self.requests - len(self.log)),
            "x-ratelimit-remaining-tokens": str(self.tokens - self.used),
            "x-ratelimit-reset-requests": reset,
            "x-ratelimit-reset-tokens": reset,
        }

    def figures(self, first: float, last: float) -> dict[str, Any]:
        seen = [tokens for at, tokens in self.history if first <= at < last]
        served, minutes = [t for t in seen if t], (last - first) / 60
        shares = {
            "requests": len(served) / (self.requests * minutes),
            "tokens": sum(served) / (self.tokens * minutes),
        }
        return {
            "utilisation": round(max(shares.values()), 4),
            "rejected_share": round(1 - len(served) / len(seen), 5) if seen else None,
            "served": len(served),
            "rejected": len(seen) - len(served),
            "rejected_in_first_minute": sum(1 for at, tokens in self.history if at < first and not tokens),
            "binding": max(shares, key=shares.__getitem__),
        }


def app(enforcer: Enforcer, *, headers: bool, hint: bool) -> Starlette:
    draws = random.Random(0)

    async def chat(asked: Asked) -> Response:
        answer = draws.randint(SHORT, LONG)
        served = enforcer.admit(PROMPT + answer)
        said = enforcer.headers() if headers else {}
        if not served:
            said |= {"retry-after": "1"} if hint else {}
            error = {"message": "Rate limit reached", "code": "rate_limit_exceeded"}
            return JSONResponse({"error": error}, 429, headers=said)
        body = await asked.json()
        await asyncio.sleep(draws.uniform(*LATENCY))
        choice = {"index": 0, "message": {"role": "assistant", "content": "4"}, "finish_reason": "stop"}
        usage = {
            "prompt_tokens": PROMPT,
            "completion_tokens": answer,
            "total_tokens": PROMPT + answer,
        }
        return JSONResponse(
            {"id": "x", "model": body["model"], "choices": [choice], "usage": usage}, headers=said
        )

    async def stats(asked: Asked) -> Response:
        first, last = (float(asked.query_params[key]) for key in ("first", "last"))
        return JSONResponse(enforcer.figures(first, last))

    return Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"]), Route("/stats", stats)])


def serve(case: "Case", port: int) -> None:
    enforcer = Enforcer(REQUESTS, case.tokens)
    made = app(enforcer, headers=case.headers, hint=case.headers)
    uvicorn.run(made, host="127.0.0.1", port=port, log_level="error", access_log=False)


# -- the client


@dataclass(frozen=True)
class Case:
    tokens: int  # per minute, as the server enforces them
    known: bool  # to the client
    headers: bool  # of the server: its limits on every answer, Retry-After on refusals


CASES = {
    "known": Case(ROOMY, known=True, headers=False),
    "known_tokens_bind": Case(TIGHT, known=True, headers=False),
    "learned": Case(ROOMY, known=False, headers=True),
    "learned_from_429_alone": Case(ROOMY, known=False, headers=False),
}


async def draw(case: Case, url: str, seconds: float, directory: Path) -> dict[str, Any]:
    """Sample for a while through the real engine; what it saw of itself."""
    stated = Limits(requests_per_minute=REQUESTS, tokens_per_minute=case.tokens) if case.known else None
    model = Model(
        provider="openai_compatible",
        model="mock",
        base_url=url,
        limits=stated,
        price=Price(input=1, output=1),
        expect=Expect(prompt=PROMPT, output=(SHORT + LONG) / 2),
    )
    arm = Arm("mock", model, Decoding(temperature=1.0, max_tokens=512), TASK)
    problems = [Problem(f"p{i}", f"Problem {i}: what is {i} * 7 + 3?", str(i * 7 + 3)) for i in range(50)]
    provider, stop, progress = OpenAICompatible(url, "sk-local"), asyncio.Event(), Progress()
    with Ledger(directory / "ledger.sqlite", cap_pico=10**15) as ledger:
        ids = ledger.add_problems(problems)
        async with Wire() as wire:
            ask = sample.asker(provider, wire.send)
            stream = arms.stream(arm, ledger, problems, ask, provider.capabilities("mock"), k=1000, n=1)
            asyncio.get_running_loop().call_later(seconds, stop.set)
            result = await sample.run(
                [stream], ids, ledger, keys=[p.id for p in problems], stop=stop, progress=progress
            )
        used = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "draws": ledger.count_draws(),
            "cpu_s": round(used.ru_utime + used.ru_stime, 1),
            "in_flight_allowed": stream.limiter.concurrency,
            "given_up": len(result.notes),
            "retries": dict(progress.retries),
        }


# -- all cases


def child(*arguments: str) -> list[str]:
    return [sys.executable, str(HERE), *arguments]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def until_it_answers(port: int, patience: float = 30.0) -> None:
    ends = time.monotonic() + patience
    while time.monotonic() < ends:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    sys.exit("the server did not start")


def contestants(args: argparse.Namespace) -> dict[str, tuple[Case, list[str]]]:
    """Name -> its server's case and the program that asks it; the base URL is to be appended."""
    seconds = str(60 * args.minutes)
    found = {
        name: (case, child("--ask", name, "--seconds", seconds, "--url"))
        for name, case in CASES.items()
        if name in args.cases
    }
    enough = str(int(2 * REQUESTS * args.minutes))
    load = ["--n-prompts", enough, "--rpm", str(REQUESTS), "--tpm", str(ROOMY), "--base-url"]
    if args.curator:
        # A name its token counter knows; for any other it stops.
        program = [args.curator, str(args.peers / "curator_bench.py"), "--model", "gpt-4o-mini", *load]
        found["curator"] = CASES["known"], program
    if args.litellm:
        program = [args.litellm, str(args.peers / "litellm_bench.py"), "--mode", "router", *load]
        found["litellm_router"] = CASES["known"], program
    return found


def compare(args: argparse.Namespace) -> dict[str, Any]:
    seconds, figures = 60.0 * args.minutes, dict[str, Any]()
    with contextlib.ExitStack() as stack:
        running = {}
        for name, (case, program) in contestants(args).items():
            port = free_port()
            known = next(n for n, c in CASES.items() if c == case)
            server = stack.enter_context(subprocess.Popen(child("--serve", known, "--port", str(port))))
            stack.callback(server.terminate)
            until_it_answers(port)
            asking = subprocess.Popen(
                [*program, f"http://127.0.0.1:{port}/v1"], stdout=subprocess.PIPE, text=True
            )
            stack.callback(asking.kill)
            running[name] = (port, asking)
        ends = time.monotonic() + seconds + 15
        for name, (port, asking) in running.items():
            said = ""
            with contextlib.suppress(subprocess.TimeoutExpired):
                said, _ = asking.communicate(timeout=max(1.0, ends - time.monotonic()))
            with urlopen(f"http://127.0.0.1:{port}/stats?first=60&last={seconds}") as answer:
                figures[name] = json.load(answer)
            if name in CASES and said:
                figures[name]["client"] = json.loads(said.strip().splitlines()[-1])
            print(f"{name:24s}", figures[name], flush=True)
    return summary(figures)


def summary(figures: dict[str, Any]) -> dict[str, Any]:
    def pair(name: str) -> dict[str, Any] | None:
        got = figures.get(name)
        if got and not got["served"]:  # it did not run: no figure is not zero
            return None
        return {key: got[key] for key in ("utilisation", "rejected_share")} if got else None

    known = pair("known")
    rest = {name: pair(name) for name in CASES if name != "known"}
    known = known or {"utilisation": None, "rejected_share": None}
    return known | rest | {"peers": {name: pair(name) for name in ("curator", "litellm_router")}}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=4, help="of sampling; the first is not counted")
    parser.add_argument("--peers", type=Path, default=HERE.parents[2].parent / "shared" / "bench_peers")
    parser.add_argument("--curator", help="interpreter with bespokelabs-curator")
    parser.add_argument("--litellm", help="interpreter with litellm")
    parser.add_argument("--cases", nargs="*", choices=CASES, default=list(CASES), help="of ours")
    parser.add_argument("--serve", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--ask", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(CASES[args.serve], args.port)
    elif args.ask:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(asyncio.run(draw(CASES[args.ask], args.url, args.seconds, Path(folder)))))
    else:
        print(json.dumps(compare(args)))


if __name__ == "__main__":
    main()
