"""Checkpoints of one training: where they are taken, which is the best, and where to go on after a kill.

While a training lasts its checkpoints lie in `.NAME.checkpoints/` beside the folder it will fill. Only the
newest and the best so far are kept. One that was being written when the process died is passed over.
"""

import json
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

IDENTITY, CLOCK, STATE = "fingerprint", "clock.json", "trainer_state.json"
LAST = "last"  # the folder of the last weights, where there was nothing to choose from


@dataclass(frozen=True, slots=True)
class Candidate:
    """A checkpoint and how it did on the validation problems."""

    step: int
    score: float


def marks(steps: int, count: int) -> list[int]:
    """`count` equally spaced steps, the last one among them; fewer where there are not as many steps."""
    return sorted({max(1, steps * i // count) for i in range(1, count + 1)})


def best(candidates: Sequence[Candidate], by: str) -> Candidate:
    """The lowest loss or the highest pass@1; the earliest of equals, and no number last."""
    sign = 1 if by == "loss" else -1
    return min(candidates, key=lambda c: (sign * c.score if math.isfinite(c.score) else math.inf, c.step))


def candidates(history: Sequence[Mapping[str, Any]], by: str) -> list[Candidate]:
    """The scored checkpoints in a trainer's log, in order."""
    key = f"eval_{by}"
    scored = {int(entry["step"]): float(entry[key]) for entry in history if key in entry}
    return [Candidate(step, score) for step, score in scored.items()]


# -- on disk


def workplace(target: Path) -> Path:
    """Where the checkpoints of a training lie that will fill `target`."""
    return target.with_name(f".{target.name}.checkpoints")


def claim(work: Path, identity: str) -> None:
    """Make the workplace this very training's; checkpoints of another one are removed."""
    mark = work / IDENTITY
    if not (mark.is_file() and mark.read_text() == identity):
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        mark.write_text(identity)


def give_up(work: Path) -> None:
    """Remove a workplace in which nothing was kept."""
    if latest(work) is None:
        shutil.rmtree(work, ignore_errors=True)


def place(work: Path, step: int) -> Path:
    return work / f"checkpoint-{step}"


def latest(work: Path) -> Path | None:
    """The newest checkpoint that was written to its end; its state is written last."""
    found = sorted(
        work.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]), reverse=True
    )
    return next((path for path in found if _whole(path)), None)


def _whole(path: Path) -> bool:
    try:
        return bool(json.loads((path / CLOCK).read_text())["seconds"] >= 0)
    except (OSError, ValueError, KeyError):
        return False


def seconds(path: Path | None) -> float:
    """How long the training had taken up to a checkpoint."""
    return float(json.loads((path / CLOCK).read_text())["seconds"]) if path else 0.0


# -- while it trains


@dataclass(frozen=True, slots=True)
class Plan:
    """When to save, and how to score."""

    marks: Sequence[int]  # steps whose checkpoints may be chosen
    every: int | None  # steps between further ones, to go on from
    by: str
    score: Callable[[], float] | None  # of the model as it is; None: nothing is chosen, and no mark is saved
    before: float = 0.0  # seconds that earlier processes spent on this training


def keeper(plan: Plan, trainer: Any) -> Any:
    """A callback that scores and saves at the plan's steps and removes what is no longer needed."""
    from transformers import TrainerCallback

    began = time.monotonic()

    class Keeper(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            here = state.global_step
            if plan.score is not None and here in plan.marks:
                due = control.should_log
                trainer.log({f"eval_{plan.by}": plan.score()})
                control.should_log = (
                    due  # logging the score took it for done: the step's loss is still to come
                )
                control.should_save = True
            elif plan.every and here % plan.every == 0 and here < state.max_steps:
                control.should_save = True

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if not state.is_world_process_zero:
                return
            work, here = Path(args.output_dir), state.global_step
            clock = {"seconds": plan.before + time.monotonic() - began}
            (place(work, here) / CLOCK).write_text(json.dumps(clock))
            scored = candidates(state.log_history, plan.by)
            wanted = {here, best(scored, plan.by).step} if scored else {here}
            for path in work.glob("checkpoint-*"):
                if path.name not in {place(work, step).name for step in wanted}:
                    shutil.rmtree(path)

    return Keeper()
