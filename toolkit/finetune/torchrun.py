"""One training shared by several processes of this machine: torchrun starts them, the first one reports.

`accelerate launch --cpu` silently runs one process (measured with accelerate 1.15), so torchrun it is. What an
accelerate config file says about FSDP is passed on by `sft`.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from toolkit.children import Say, end_with_parent
from toolkit.errors import InputError, PricematchError

REFUSED = 9  # exit code of a process whose input was wrong: it has said how


def command(processes: int, message: Path) -> list[str]:
    """What starts the processes, on ports of its own choosing."""
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        str(processes),
    ]
    return [*launcher, "-m", "toolkit.finetune.torchrun", str(message)]


def launch(message: Mapping[str, Any], say: Say) -> None:
    """Run `message["entry"]` (module:function) in `message["processes"]` processes; `say` hears the first one.

    The processes end when this one does: they share its end of a pipe.
    """
    with TemporaryDirectory(prefix="pricematch-") as folder:
        path = Path(folder) / "message.json"
        path.write_text(json.dumps(message), encoding="utf-8")
        with subprocess.Popen(
            command(message["processes"], path), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as running:
            assert running.stdout is not None
            refused = None
            for line in running.stdout:
                answer = json.loads(line)
                if answer.keys() == {"refused"}:
                    refused = answer["refused"]
                else:
                    say(answer)
            code = running.wait()
    if refused is not None:
        raise InputError(refused)
    if code:
        raise PricematchError(f"torchrun ended with exit {code}")


def main() -> None:
    """One of the processes."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # what libraries print must not look like an answer
    end_with_parent()
    message = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    first = os.environ["RANK"] == "0"

    def write(answer: Mapping[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")

    def say(answer: Mapping[str, Any]) -> None:
        if first:
            write(answer)

    module, _, name = message["entry"].partition(":")
    try:
        getattr(__import__(module, fromlist=[name]), name)(message, say)
    except InputError as error:
        write({"refused": str(error)})  # whoever is first: torchrun ends the others as soon as one has ended
        answers.flush()
        os._exit(REFUSED)
    answers.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
