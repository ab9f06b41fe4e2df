"""The quickstart killed with SIGKILL at random moments and rerun to its end: is anything lost or paid twice?

    python tests/bench/kill_quickstart.py [--kills 10] [--seed 0] [--out DIR]

Only the main process is killed, as `kill -9` does. Moments are spread over sampling, finetuning and
evaluating, in proportion to what each takes of a run. What was billed comes from the servers' own journal,
which the run does not write. The last line printed is one JSON object; exit code 1 if anything fails.
"""

import argparse
import json
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES, RUN_FILE = ROOT / "examples", "quickstart.yaml"
SHARES = {"sample": 0.3, "finetune": 0.4, "evaluate": 0.3}  # roughly, of the wall clock of a run
PHASES = tuple(SHARES)
JITTER = 1.0  # seconds after a moment's progress is seen, at most
GRACE = 5.0  # seconds a child may outlive the main process; what stays longer is left over
LONGEST = 60.0  # seconds to wait for those left over, to tell slow from immortal
POLL = 0.05
CAP_REACHED = 3  # exit code
PICO = 10**12


@dataclass(frozen=True, slots=True)
class Moment:
    """When to kill: so far into a phase, then a little later."""

    phase: int  # index into PHASES
    progress: float  # 0 to 1
    delay: float  # seconds


@dataclass
class Life:
    """One process of the run, from start to end."""

    process: subprocess.Popen[str]
    phase: int = 0
    trained: float = 0.0  # progress of finetuning, as it says itself
    said: list[str] = field(default_factory=list)


@dataclass
class Tally:
    killed_in: Counter[str] = field(default_factory=Counter)
    leftover_servers: int = 0
    leftover_others: int = 0
    never_ended: int = 0
    slowest_end: float = 0.0  # seconds until the last child of a killed run was gone
    raised_caps: list[str] = field(default_factory=list)


def draw_moments(kills: int, seed: int) -> list[Moment]:
    """Random over a run's wall clock, one in each of `kills` equal parts of it, in order."""
    chance = random.Random(seed)
    return [_moment((i + chance.random()) / kills, chance.uniform(0, JITTER)) for i in range(kills)]


def _moment(clock: float, delay: float) -> Moment:
    """`clock` is 0 to 1 over a whole run."""
    for phase, share in enumerate(SHARES.values()):
        if clock < share or phase == len(SHARES) - 1:
            return Moment(phase, min(clock / share, 1.0), delay)
        clock -= share
    raise AssertionError("unreachable")


# -- a life


def _examples(out: Path) -> Path:
    """The run's own copy of the examples: what is edited meanwhile must not change the run."""
    return out.with_name(f"{out.name}-examples")


def start(out: Path, overrides: list[str]) -> Life:
    run_file = str(_examples(out) / RUN_FILE)
    command = [sys.executable, "-m", "toolkit", "run", run_file, "--out", str(out), *overrides]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    life = Life(process)
    assert process.stderr is not None
    threading.Thread(target=_listen, args=(life, process.stderr), daemon=True).start()
    return life


def _listen(life: Life, lines: IO[str]) -> None:
    """Which phase a run is in, by its own words: it says a stage's findings when the stage has ended."""
    for line in lines:
        life.said.append(line.rstrip())
        if line.startswith("dataset "):
            life.phase = max(life.phase, PHASES.index("finetune"))
        elif line.startswith("finetune "):
            life.phase = max(life.phase, PHASES.index("evaluate"))
        elif step := re.match(r"finetune: (\d+)/(\d+)", line):
            life.trained = int(step[1]) / int(step[2])


def reached(life: Life, moment: Moment, out: Path, planned: dict[str, int]) -> bool:
    if life.phase != moment.phase:
        return life.phase > moment.phase
    phase = PHASES[moment.phase]
    done = life.trained if phase == "finetune" else drawn(out, phase) / planned[phase]
    return done >= moment.progress


def drawn(out: Path, purpose: str) -> int:
    ledger = out / "ledger.sqlite"
    if not ledger.is_file():
        return 0
    try:
        with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as db:
            sql = "SELECT COUNT(*) FROM draw d JOIN attempt a ON a.id=d.attempt WHERE a.purpose=?"
            return int(db.execute(sql, (purpose,)).fetchone()[0])
    except sqlite3.Error:  # being made
        return 0


def live_until(moment: Moment, out: Path, overrides: list[str], planned: dict[str, int], tally: Tally) -> int:
    """Run until the moment and kill; the exit code, negative where killed."""
    life, begun = start(out, overrides), time.monotonic()
    while life.process.poll() is None and not reached(life, moment, out, planned):
        time.sleep(POLL)
    until = time.monotonic() + moment.delay
    while life.process.poll() is None and time.monotonic() < until:
        time.sleep(POLL)
    if life.process.poll() is not None:
        return life.process.returncode
    children, phase = descendants(life.process.pid), PHASES[life.phase]
    life.process.kill()
    life.process.wait()
    ended = bury(children, tally)
    tally.killed_in[phase] += 1
    print(
        f"killed after {time.monotonic() - begun:.1f} s in {phase} ({drawn(out, 'sample')} and "
        f"{drawn(out, 'evaluate')} draws); {len(children)} children gone after {ended:.1f} s",
        flush=True,
    )
    return -9


def live(out: Path, overrides: list[str]) -> tuple[int, str]:
    """Run to the end: exit code and last words."""
    life = start(out, overrides)
    return life.process.wait(), "\n".join(life.said[-5:])


# -- processes, by /proc


Child = tuple[int, str, bool]  # pid, start time (pids are used again), is it a server


def descendants(pid: int) -> list[Child]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        for child in map(int, _read(task / "children").split()):
            found.append((child, _birth(child), "\0serve\0" in _read(Path(f"/proc/{child}/cmdline"))))
            found += descendants(child)
    return found


def bury(children: list[Child], tally: Tally) -> float:
    """Wait until the children are gone, and count those that took longer than GRACE; the rest are killed."""
    killed, late = time.monotonic(), False
    while (alive := [c for c in children if _birth(c[0]) == c[1]]) and time.monotonic() - killed < LONGEST:
        if not late and time.monotonic() - killed > GRACE:
            late = True
            tally.leftover_servers += sum(server for _, _, server in alive)
            tally.leftover_others += sum(not server for _, _, server in alive)
        time.sleep(POLL)
    waited = time.monotonic() - killed
    tally.slowest_end = max(tally.slowest_end, waited)
    tally.never_ended += len(alive)
    for pid, _, _ in alive:
        os.kill(pid, 9)
    return waited


def _birth(pid: int) -> str:
    """When a living process was started, in clock ticks; empty for none and for a zombie."""
    stat = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return stat[19] if stat and stat[0] not in "ZX" else ""


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


# -- the account


def account(out: Path) -> dict[str, Any]:
    """What the servers billed, what the ledger knows of it, and which draws there are."""
    served = [json.loads(line) for line in (out / "served.jsonl").read_text().splitlines()]
    with closing(sqlite3.connect(out / "ledger.sqlite")) as db:
        twice = (
            "SELECT COUNT(*) FROM (SELECT 1 FROM draw d JOIN arm a ON a.id=d.arm "
            "GROUP BY a.name, d.problem, d.idx HAVING COUNT(*) > 1)"
        )
        fates = {
            state: (attempts, spent or 0)
            for state, attempts, spent in db.execute(
                "SELECT state, COUNT(*), SUM(COALESCE(cost_pico, reserved_pico)) FROM attempt GROUP BY state"
            )
        }
        kept = db.execute("SELECT COUNT(*) FROM draw").fetchone()[0]
        (doubled,) = db.execute(twice).fetchone()
    return {
        "billed": sum(line["pico"] for line in served),
        "settled": fates.get("settled", (0, 0))[1],
        "uncertain": fates.get("uncertain", (0, 0))[1],
        "attempts": {state: attempts for state, (attempts, _) in fates.items()},
        "doubled": doubled,
        "draws": kept,
        "draws_served": sum(line["draws"] for line in served),
    }


def plan(out: Path) -> dict[str, int]:
    """Draws the whole run wants, by purpose."""
    run_file = str(_examples(out) / RUN_FILE)
    command = [sys.executable, "-m", "toolkit", "plan", run_file, "--out", str(out), "--json"]
    models = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)["models"]
    run = yaml.safe_load((out / "run.yaml").read_text(encoding="utf-8"))
    examined = run["evaluate"]["problems"]["limit"] * run["evaluate"]["draws"]
    return {
        "sample": sum(m["draws_per_problem"] for m in models.values()) * run["problems"]["limit"],
        "evaluate": len(run["students"]) * (1 + len(models)) * examined,
    }


def status(out: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "toolkit", "status", str(out), "--json"]
    told = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
    return dict(json.loads(told))


def _raise_cap(out: Path, tally: Tally) -> list[str]:
    """Uncertain attempts count against the cap: a user who goes on gives more, and the result says so."""
    cap = str(Decimal(str(status(out)["cap_usd"])) * Decimal("1.5"))
    tally.raised_caps.append(cap)
    return ["--set", f"budget.cap_usd={cap}"]


def kill_and_rerun(out: Path, kills: int, seed: int) -> dict[str, Any]:
    shutil.copytree(EXAMPLES, _examples(out))
    tally, overrides, planned = Tally(), list[str](), plan(out)
    began = time.monotonic()
    moments = draw_moments(kills, seed)
    while moments:
        code = live_until(moments[0], out, overrides, planned, tally)
        if code == CAP_REACHED and not tally.raised_caps[3:]:
            overrides = _raise_cap(out, tally)
        elif code > 0:
            break  # the last life says why
        elif code == 0:  # it ended first: kill the next one, which has little left to do, as it starts
            moments[0] = Moment(0, 0.0, moments[0].delay)
        else:
            moments.pop(0)
    code, words = live(out, overrides)
    while code == CAP_REACHED and not tally.raised_caps[3:]:
        overrides = _raise_cap(out, tally)
        code, words = live(out, overrides)
    found, told = account(out), status(out)
    wanted = sum(planned.values())
    cap = round(told["cap_usd"] * PICO)
    return {
        "kills": tally.killed_in.total(),
        "killed_in": dict(tally.killed_in),
        "doubled": found["doubled"],
        "missing": max(told["missing"], wanted - found["draws"]),
        "billed_usd": found["billed"] / PICO,
        "settled_usd": told["spent_usd"],
        "uncertain_usd": told["uncertain_usd"],
        "cap_usd": told["cap_usd"],
        "holds": found["billed"] <= found["settled"] + found["uncertain"] <= cap
        and abs(told["spent_usd"] - found["settled"] / PICO) < 1e-6
        and abs(told["uncertain_usd"] - found["uncertain"] / PICO) < 1e-6,
        "leftover_servers": tally.leftover_servers,
        "leftover_others": tally.leftover_others,
        "never_ended": tally.never_ended,
        "slowest_end_seconds": round(tally.slowest_end, 1),
        "raised_caps": tally.raised_caps,
        "exit_code": code,
        "last_words": words if code else "",
        "page": (out / "report.html").is_file(),
        "draws": found["draws"],
        "draws_served_again": found["draws_served"] - found["draws"],
        "attempts": found["attempts"],
        "seconds": round(time.monotonic() - began, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="keep the run directory here; it must not exist")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kill-quickstart-") as scratch:
        out = (options.out or Path(scratch) / "run").resolve()
        if out.exists():
            parser.error(f"{out} exists: give another --out")
        found = kill_and_rerun(out, options.kills, options.seed)
    print(json.dumps(found))
    clean = not (
        found["doubled"] or found["missing"] or found["leftover_servers"] or found["leftover_others"]
    )
    return 0 if clean and found["holds"] and found["page"] and found["exit_code"] == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
