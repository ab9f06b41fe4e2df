"""The paper in miniature killed with SIGKILL in every stage and rerun: is anything lost, and what comes out otherwise?

    python tests/bench/kill_paper.py [--out DIR]

A small variant runs twice: once undisturbed, once killed in the middle of sampling, of a learning-rate trial, of
a training that is kept, and of evaluating, and rerun each time. One arm is a local checkpoint, one a simulated
model. Asked afterwards: are draws and trainings that were settled before a kill the same after it; are the
simulated draws the same, bit for bit, as of the undisturbed run; are students the same, to the last bit of
their weights, where their data is the same, though their training went on from a checkpoint (on one thread); and
how many local draws were asked for again, and came out otherwise. The last line printed is one JSON object; exit
code 1 if a settled draw, a simulated draw or a training differs.
"""

import argparse
import hashlib
import json
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from kill_quickstart import POLL, ROOT, Tally, bury, descendants, drawn

SMALL = {"problems": 40, "draws": 8, "steps": 15, "save_steps": 3, "chosen_on": 16, "tested_on": 40}
MIDDLE = 0.4  # of a stage's draws, when it is killed
PATIENCE = 1800.0  # seconds a life may take
LEARNED = ["prompt", "completion"]
Key = tuple[str, str, int]  # arm, problem, index


@dataclass
class Killed:
    """What was settled when a run was killed."""

    stage: str
    draws: dict[Key, str]
    students: dict[str, str]


@dataclass
class Story:
    kills: list[Killed] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    exit_codes: list[int] = field(default_factory=list)


def variant(home: Path) -> Path:
    """The low budget made small, its strong model a simulated one that takes its time."""
    examples = ROOT / "examples"
    run = yaml.safe_load((examples / "paper-mini" / "low.yaml").read_text(encoding="utf-8"))
    world = yaml.safe_load((examples / "worlds" / "word-problems.yaml").read_text(encoding="utf-8"))
    world["models"]["large"]["latency"] = {"mean": 0.2}
    (home / "world.yaml").write_text(yaml.safe_dump(world), encoding="utf-8")
    tiny = examples / "tiny-gemma"
    run["name"] = "kill-paper"
    run["problems"]["limit"] = SMALL["problems"]
    run["models"] = {
        "wc": {"provider": "checkpoint", "model": str(tiny / "wc"), "limits": {"concurrency": 4}},
        "se": {
            "provider": "simulated",
            "model": "large",
            "world": str(home / "world.yaml"),
            "limits": {"concurrency": 4},
        },
    }
    run["budget"] = {"draws": SMALL["draws"], "match": "samples"}
    run["dataset"]["controls"] = {"human": {"from": "gold"}}
    run["students"] = {"student-lm": {"model": str(tiny / "student"), "setup": "student"}}
    run["finetune"] |= {"steps": SMALL["steps"], "save_steps": SMALL["save_steps"], "warmup_steps": 2}
    run["finetune"]["learning_rates"] = [1e-4, 3e-4]
    run["finetune"]["validation"]["limit"] = SMALL["chosen_on"]
    run["evaluate"] |= {"maj_k": [1, 4], "seeds": 1}
    run["evaluate"]["problems"]["limit"] = SMALL["tested_on"]
    path = home / "variant.yaml"
    path.write_text(yaml.safe_dump(run), encoding="utf-8")
    return path


# -- lives


def start(run_file: Path, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "toolkit", "run", str(run_file), "--out", str(out)]
    with out.with_name(f"{out.name}.log").open("ab") as log:
        return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)


def moments(out: Path) -> Iterator[tuple[str, Callable[[], bool]]]:
    """Stages in order, each with how to tell that it is in its middle."""
    arms, versions = 2, 4  # of draws; the base and the student of each dataset
    planned = {
        "sample": arms * SMALL["problems"] * SMALL["draws"],
        "evaluate": versions * SMALL["tested_on"] * 4,
    }
    finetune = out / "finetune"
    yield "sample", lambda: drawn(out, "sample") >= MIDDLE * planned["sample"]
    yield "trial", lambda: halfway(finetune / ".search")
    yield "training", lambda: halfway(finetune / "student-lm")
    yield "evaluate", lambda: drawn(out, "evaluate") >= MIDDLE * planned["evaluate"]


def halfway(folder: Path) -> bool:
    """Whether a training under this folder has written a checkpoint from which it could go on."""
    return any(folder.rglob(".*.checkpoints/checkpoint-*/clock.json"))


def undisturbed(run_file: Path, out: Path) -> int:
    return start(run_file, out).wait(PATIENCE)


def disturbed(run_file: Path, out: Path) -> Story:
    """Killed once in each stage, then run to its end."""
    story = Story()
    for stage, reached in moments(out):
        process, until = start(run_file, out), time.monotonic() + PATIENCE
        while process.poll() is None and not reached() and time.monotonic() < until:
            time.sleep(POLL)
        if process.poll() is not None:
            story.exit_codes.append(process.returncode)
            print(f"{stage}: ended before it could be killed, exit code {process.returncode}", flush=True)
            continue
        children = descendants(process.pid)
        process.kill()
        process.wait()
        bury(children, story.tally)
        story.kills.append(Killed(stage, draws(out), students(out)))
        print(f"killed in {stage}: {len(story.kills[-1].draws)} draws settled", flush=True)
    story.exit_codes.append(undisturbed(run_file, out))
    return story


# -- what there is


def draws(out: Path) -> dict[Key, str]:
    """Every draw in the ledger, by arm, problem and index."""
    sql = (
        "SELECT a.name, p.key, d.idx, d.finish || ' ' || t.text FROM draw d JOIN arm a ON a.id=d.arm "
        "JOIN problem p ON p.id=d.problem JOIN draw_text t ON t.draw=d.id"
    )
    with closing(sqlite3.connect(out / "ledger.sqlite")) as db:
        return {(arm, problem, idx): text for arm, problem, idx, text in db.execute(sql)}


def students(out: Path) -> dict[str, str]:
    """Finished students -> the digest of their weights."""
    found = (out / "finetune" / "student-lm").rglob("model.safetensors")
    done = [p for p in found if (p.parent / "training.json").is_file()]
    return {p.parent.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in done}


def trainings(out: Path) -> dict[str, dict[str, Any]]:
    """Every training's record, trials among them."""
    found = sorted((out / "finetune").rglob("training.json"))
    home = out / "finetune"
    return {p.parent.relative_to(home).as_posix(): json.loads(p.read_text(encoding="utf-8")) for p in found}


def rows(out: Path) -> dict[str, str]:
    """Datasets -> the digest of what is learned from, in order; ledger ids beside it follow who asked first."""
    from datasets import load_from_disk

    return {
        p.name: hashlib.sha256(
            json.dumps(load_from_disk(str(p)).select_columns(LEARNED).to_list()).encode()
        ).hexdigest()
        for p in sorted((out / "dataset").iterdir())
        if p.is_dir()
    }


def served(out: Path) -> int:
    """Draws the servers answered, by their own journal."""
    return sum(json.loads(line)["draws"] for line in (out / "served.jsonl").read_text().splitlines())


# -- what differs


def compare(calm: Path, killed: Path, story: Story) -> dict[str, Any]:
    reference, found = draws(calm), draws(killed)
    simulated = [key for key in reference if key[0] == "se"]
    local = [key for key in reference if key[0] != "se"]
    same_data = [name for name, digest in rows(calm).items() if rows(killed).get(name) == digest]
    weights = students(calm), students(killed)
    records = trainings(calm), trainings(killed)
    of_same = [name for name in records[0] if set(name.split("/")) & set(same_data)]
    return {
        "kills": [k.stage for k in story.kills],
        "exit_codes": story.exit_codes,
        "settled_draws": [len(k.draws) for k in story.kills],
        "settled_draws_changed": sum(
            found.get(key) != text for k in story.kills for key, text in k.draws.items()
        ),
        "settled_students_changed": sum(
            weights[1].get(name) != digest for k in story.kills for name, digest in k.students.items()
        ),
        "missing": len(reference.keys() - found.keys()),
        "simulated_draws": len(simulated),
        "simulated_draws_changed": sum(found.get(key) != reference[key] for key in simulated),
        "same_data": same_data,
        "resumed_from": {n: r["resumed_from"] for n, r in records[1].items() if r.get("resumed_from")},
        "losses_changed": [
            name for name in of_same if records[0][name]["losses"] != records[1][name]["losses"]
        ],
        "students_changed": [name for name in same_data if weights[0].get(name) != weights[1].get(name)],
        "local_draws": len(local),
        "local_draws_changed": sum(found.get(key) != reference[key] for key in local),
        "draws_served_again": served(killed) - len(found),
        "leftover": story.tally.leftover_servers + story.tally.leftover_others + story.tally.never_ended,
        "slowest_end_seconds": round(story.tally.slowest_end, 1),
    }


def clean(found: dict[str, Any]) -> bool:
    differs = ("settled_draws_changed", "settled_students_changed", "simulated_draws_changed", "missing")
    trained = ("losses_changed", "students_changed")
    whole = found["kills"] == ["sample", "trial", "training", "evaluate"] and found["exit_codes"] == [0]
    return whole and not any(found[key] for key in (*differs, *trained)) and bool(found["resumed_from"])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, help="keep both run directories here; it must not exist")
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kill-paper-") as scratch:
        home = (options.out or Path(scratch) / "runs").resolve()
        if home.exists():
            parser.error(f"{home} exists: give another --out")
        home.mkdir(parents=True)
        run_file = variant(home)
        code = undisturbed(run_file, home / "calm")
        if code:
            sys.exit(f"the undisturbed run ended with {code}: {(home / 'calm.log').read_text()[-2000:]}")
        print(f"undisturbed: {time.monotonic() - began:.0f} s", flush=True)
        story = disturbed(run_file, home / "killed")
        found = compare(home / "calm", home / "killed", story)
    print(json.dumps(found | {"clean": clean(found), "seconds": round(time.monotonic() - began, 1)}))
    return 0 if clean(found) else 1


if __name__ == "__main__":
    sys.exit(main())
