"""Does sampling stay flat? Memory of the sampling process at 10 thousand and at a million draws, and a resume.

    python tests/bench/scale.py [--draws 10000,1000000]

Each size is sampled by the command line from a simulated model over real HTTP, 25 draws of every problem in one
request, then asked for again when nothing is missing. `rss_mb` is the process's own largest resident memory (Linux).
Last, one JSON object.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from toolkit.ledger import Reader

K = 25  # draws of each problem
POLL = 0.1  # seconds between looks at the process
RUN_FILE = """\
name: scale
problems: {{source: questions.jsonl}}
prompt: gsm8k
decoding: {{temperature: 0.7, max_tokens: 256}}
models:
  one: {{provider: simulated, model: small, world: world.yaml, draws_per_request: {each}}}
budget: {{draws: {k}, match: samples}}
sampling: {{rounds: 1}}
"""
WORLD = """\
name: scale
models:
  small: {ability: {a: 1, b: 1}, tokens: {mean: 60, sd: 15}, price: {input: 0, output: 1}}
"""


def run(folder: Path, out: Path) -> dict[str, float]:
    """`pricematch sample` to its end: seconds, and its own peak memory in MB."""
    start, peak = time.monotonic(), 0.0
    command = [sys.executable, "-m", "toolkit", "sample", str(folder / "run.yaml"), "--out", str(out)]
    with tempfile.TemporaryFile("w+") as said, subprocess.Popen(command, stdout=said, stderr=said) as process:
        while process.poll() is None:
            peak = max(peak, memory(process.pid))
            time.sleep(POLL)
        if process.returncode:
            said.seek(0)
            sys.exit(f"sample ended with {process.returncode}: {said.read()[-2000:]}")
    return {"seconds": round(time.monotonic() - start, 2), "rss_mb": round(peak, 1)}


def memory(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return 0.0
    sizes = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
    return int(sizes[0]) / 1024 if sizes else 0.0


def measure(draws: int, each: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as place:
        folder, out = Path(place), Path(place) / "run"
        (folder / "world.yaml").write_text(WORLD, encoding="utf-8")
        rows = ({"question": f"What is {i} + {i + 1}?", "answer": str(2 * i + 1)} for i in range(draws // K))
        (folder / "questions.jsonl").write_text(
            "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8"
        )
        (folder / "run.yaml").write_text(RUN_FILE.format(k=K, each=each), encoding="utf-8")
        first, again = run(folder, out), run(folder, out)
        with Reader(out / "ledger.sqlite") as reader:
            there = reader.count_draws()
        if there != draws:
            sys.exit(f"{there} draws in the ledger, not {draws}")
        size = sum(f.stat().st_size for f in out.iterdir()) / 2**20
    found = {"draws": draws, "sampled": first, "nothing_missing": again, "ledger_mb": round(size, 1)}
    print(found, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--draws", default="10000,1000000")
    parser.add_argument("--each", type=int, default=K, help="draws in one request")
    options = parser.parse_args()
    sizes = [measure(int(n), options.each) for n in options.draws.split(",")]
    growth = sizes[-1]["sampled"]["rss_mb"] / sizes[0]["sampled"]["rss_mb"]
    print(json.dumps({"sizes": sizes, "rss_growth": round(growth, 3)}))


if __name__ == "__main__":
    main()
