"""Random faults and random kill -9: is ever more billed than the ledger knows, a draw lost, or one doubled?

Each seeded run has a simulated provider with faults of its own (resets before and in the body, truncated and
foreign bodies, 429 and 503, stragglers past the timeout, fewer choices than asked), a client that is killed a
few times and started again, and a cap that is sometimes too small. Afterwards the provider's own account is
held against the ledger:

    overspent  billed > settled + uncertain, or settled + uncertain > cap
    lost       an answer that was committed and is gone or changed, or more served requests than attempts
    doubled    two draws of one (arm, problem, index)

    python tests/bench/faults.py --runs 200

Prints a line per violation and, last, one JSON object. Exit status 1 if there was any.
"""

import argparse
import hashlib
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from toolkit.cost import to_pico
from toolkit.job import LEDGER
from toolkit.ledger import Ledger, Reader

PRICEMATCH = [sys.executable, "-m", "toolkit"]
TIMEOUT = 1.0  # seconds a request may take; stragglers take longer
Draws = dict[tuple[int, int, int], str]


@dataclass(slots=True)
class Outcome:
    seed: int
    overspent: int = 0
    lost: int = 0
    doubled: int = 0
    kills: int = 0
    draws: int = 0
    missing: int = 0
    capped: bool = False
    billed: int = 0  # picodollars, by the provider's account
    settled: int = 0
    uncertain: int = 0
    seconds: float = 0.0


def world(rng: random.Random) -> dict[str, Any]:
    kinds = (
        "rate_limit",
        "overloaded",
        "reset_before",
        "reset_mid_body",
        "truncated_json",
        "wrong_content_type",
        "slow_trickle",
        "fewer_candidates",
    )
    faults: dict[str, Any] = {
        kind: round(rng.uniform(0, 0.06), 3) for kind in rng.sample(kinds, rng.randint(2, 6))
    }
    faults |= {
        "seed": rng.randrange(10**6),
        "retry_after": 0.05,
        "trickle_seconds": 0.2,
        "straggler": {"share": round(rng.uniform(0, 0.03), 3), "seconds": 2 * TIMEOUT},
    }
    model = {
        "ability": {"a": 0.7, "b": 0.9},
        "tokens": {"mean": 60, "sd": 20},
        "latency": {"mean": rng.choice([0.0, 0.05])},
        "max_n": 32,
    }
    return {
        "name": "faulty",
        "seed": rng.randrange(10**6),
        "faults": faults,
        "problems": {"source": "builtin:word-problems", "limit": 100},
        "models": {
            "small": model | {"price": {"input": 0.1, "output": 0.1}},
            "large": model | {"price": {"input": 0.3, "output": 0.3}},
        },
    }


def run_file(rng: random.Random, url: str) -> dict[str, Any]:
    def hosted(name: str, price: float) -> dict[str, Any]:
        return {
            "provider": "openai_compatible",
            "model": name,
            "base_url": url,
            "price": {"input": price, "output": price},
            "limits": {"concurrency": rng.choice([2, 8, 24])},
        }

    return {
        "name": "faulty",
        "seed": rng.randrange(10**6),
        "problems": {"source": "builtin:word-problems", "limit": 100},
        "decoding": {"temperature": 0.7, "max_tokens": 200},
        "models": {"cheap": hosted("small", 0.1), "strong": hosted("large", 0.3)},
        "budget": {"draws": 3, "match": "price", "cap_usd": rng.choice([0.004, 0.02, 0.2])},
        "sampling": {"timeout": TIMEOUT, "attempts": 5, "rounds": rng.choice([1, 2, 4])},
    }


def one(seed: int, kills: int) -> Outcome:
    """One seeded run, from the first start to the account."""
    rng, started = random.Random(seed), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        home = Path(folder)
        (home / "world.yaml").write_text(yaml.safe_dump(world(rng)))
        server = subprocess.Popen(
            [*PRICEMATCH, "serve", "--simulate", str(home / "world.yaml"), "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            assert server.stdout is not None
            url = server.stdout.readline().split()[-1]
            outcome = client(seed, rng, home, url, kills)
        finally:
            server.kill()
            server.wait()
    outcome.seconds = round(time.monotonic() - started, 1)
    return outcome


def client(seed: int, rng: random.Random, home: Path, url: str, kills: int) -> Outcome:
    outcome, run = Outcome(seed), run_file(rng, url)
    (home / "run.yaml").write_text(yaml.safe_dump(run))
    command = [*PRICEMATCH, "sample", str(home / "run.yaml"), "--out", str(home / "run")]
    ledger = home / "run" / LEDGER
    kept: Draws = {}
    for _ in range(kills):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(rng.uniform(0.8, 2.5))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            outcome.kills += 1
        outcome.lost += gone(kept, ledger)
        kept = draws(ledger)
    for _ in range(4):  # a request may use up its attempts; a rerun asks for its draws again
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        outcome.capped = "cap is reached" in done.stderr
        if done.returncode == 0 or outcome.capped:
            break
    outcome.lost += gone(kept, ledger)
    return account(
        outcome,
        ledger,
        url,
        to_pico(run["budget"]["cap_usd"]),
        planned=json.loads((home / "run" / "plan.json").read_text()),
    )


def draws(ledger: Path) -> Draws:
    """What is committed: (arm, problem, index) -> hash of the text."""
    if not ledger.is_file():
        return {}
    with Reader(ledger) as reader:
        rows = reader.rows(
            "SELECT d.arm, d.problem, d.idx, t.text FROM draw d JOIN draw_text t ON t.draw=d.id"
        )
        return {(a, p, i): hashlib.sha256(text.encode()).hexdigest() for a, p, i, text in rows}


def gone(kept: Draws, ledger: Path) -> int:
    now = draws(ledger)
    return sum(now.get(key) != text for key, text in kept.items())


def account(outcome: Outcome, ledger: Path, url: str, cap: int, planned: dict[str, Any]) -> Outcome:
    with urllib.request.urlopen(url.removesuffix("/v1") + "/sim/stats", timeout=10) as reply:
        stats = json.load(reply)
    Ledger(ledger).close()  # what a killed client left in flight becomes uncertain
    with Reader(ledger) as reader:
        spend, attempts = reader.spend(), sum(reader.attempts().values())
        keys = Counter(reader.rows("SELECT arm, problem, idx FROM draw"))
    wanted = sum(m["draws_per_problem"] for m in planned["models"].values()) * planned["problems"]
    outcome.billed, outcome.settled, outcome.uncertain = stats["pico"], spend.settled, spend.uncertain
    outcome.overspent = int(outcome.billed > spend.settled + spend.uncertain) + int(spend.committed > cap)
    outcome.doubled = sum(n - 1 for n in keys.values())
    outcome.lost += max(0, stats["requests"] - attempts)
    outcome.draws, outcome.missing = len(keys), wanted - len(keys)
    return outcome


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="seed of the first run")
    parser.add_argument("--kills", type=int, default=3, help="in each run, at most")
    parser.add_argument("--parallel", type=int, default=2)
    args = parser.parse_args()
    started = time.monotonic()
    with ThreadPoolExecutor(args.parallel) as pool:
        outcomes = []
        for outcome in pool.map(
            lambda seed: one(seed, args.kills), range(args.first, args.first + args.runs)
        ):
            outcomes.append(outcome)
            if outcome.overspent or outcome.lost or outcome.doubled:
                print(json.dumps(asdict(outcome)), flush=True)
            elif len(outcomes) % 20 == 0:
                print(
                    f"{len(outcomes)} runs, {sum(o.kills for o in outcomes)} kills, {time.monotonic() - started:.0f} s",
                    file=sys.stderr,
                    flush=True,
                )
    total = {
        key: sum(getattr(o, key) for o in outcomes)
        for key in (
            "overspent",
            "lost",
            "doubled",
            "kills",
            "draws",
            "missing",
            "billed",
            "settled",
            "uncertain",
        )
    }
    capped = sum(o.capped for o in outcomes)
    print(
        json.dumps(
            {
                "runs": len(outcomes),
                **total,
                "capped": capped,
                "missing_uncapped": sum(o.missing for o in outcomes if not o.capped),
                "seconds": round(time.monotonic() - started),
            }
        )
    )
    sys.exit(bool(total["overspent"] or total["lost"] or total["doubled"]))


if __name__ == "__main__":
    main()
