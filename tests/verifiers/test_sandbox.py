"""The sandbox foils what it says it foils, ends what does not end, and says so where it cannot stand."""

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sandbox_probes import FOILED

from toolkit.errors import InputError
from toolkit.programs import Suite
from toolkit.types import Outcome
from toolkit.verifiers import sandbox
from toolkit.verifiers.code import BOOT, CodeVerifier
from toolkit.verifiers.sandbox import Patience, Recipe, Runs

MARKER = "a-key-of-the-caller"
PROBED = Suite("mark = 'in the tests only'\nassert probe() is True\n", ("probe",)).as_gold()
HERE = Path(__file__).resolve().parent


def protected() -> Recipe:
    try:
        return sandbox.isolated()
    except InputError as refusal:
        pytest.skip(f"no sandbox on this machine: {refusal}")


@pytest.fixture(scope="module")
def verifier() -> Iterator[CodeVerifier]:
    with (
        pytest.MonkeyPatch.context() as patch,
        CodeVerifier(timeout=20, workers=1, isolated=protected) as made,
    ):
        patch.setenv("PRICEMATCH_TEST_KEY", MARKER)
        yield made


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def python(program: str) -> Runs:
    """Runs of a script in the sandbox, without tests around it; `out` is its way to speak."""
    return Runs(protected(), ("-c", f"import os, sys\nout = int(sys.argv[2])\n{program}"))


@pytest.mark.parametrize("attempt", FOILED)
def test_an_attempt_comes_to_nothing(attempt: str, verifier: CodeVerifier, port: int) -> None:
    program = FOILED[attempt].format(host=str(HERE), port=port, marker=MARKER)
    (verdict,) = verifier.judge([(PROBED, program)])
    assert verdict.outcome is Outcome.CORRECT


def test_the_probes_can_fail_without_a_sandbox(port: int) -> None:
    """Else they would prove nothing: unprotected, the network and the host's files are open."""
    open_to_it = ("network", "reading the host's files")
    programs = [FOILED[name].format(host=str(HERE), port=port, marker=MARKER) for name in open_to_it]
    with CodeVerifier(timeout=20, unsafe=True) as made:
        outcomes = [verdict.outcome for verdict in made.judge([(PROBED, program) for program in programs])]
    assert outcomes == [Outcome.INCORRECT, Outcome.INCORRECT]


def test_a_daemon_does_not_outlive_its_run(verifier: CodeVerifier) -> None:
    name = f"pricematch-daemon-{os.getpid()}"
    program = f"""
import os
def probe():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execv("/usr/bin/sleep", [{name!r}, "600"])
        os._exit(0)
    while {name!r} not in "".join(open(f"/proc/{{p}}/cmdline").read() for p in os.listdir("/proc") if p.isdigit()):
        pass
    return True
"""
    assert verifier.judge([(PROBED, program)])[0].outcome is Outcome.CORRECT
    until = time.monotonic() + 10
    while alive := _running(name):
        assert time.monotonic() < until, alive


def _running(name: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if name in path.read_text(errors="replace").split("\0"):
                found.append(path.parent.name)
        except OSError:
            continue  # it has just ended
    return found


def test_killing_everything_reaches_its_own_namespace_only(verifier: CodeVerifier) -> None:
    program = "import os\ndef probe(): os.kill(-1, 9)"
    fine = "def probe(): return True"
    outcomes = [v.outcome for v in verifier.judge([(PROBED, program), (PROBED, fine)])]
    assert outcomes == [Outcome.INCORRECT, Outcome.CORRECT]


def test_what_does_not_end_is_killed_and_overdue() -> None:
    runs = python("os.write(out, b'ready\\n')\nwhile True: pass")
    ended = runs.run(b"", Patience(seconds=0.2))
    assert (ended.started, ended.overdue, ended.output) == (True, True, b"ready\n")


def test_a_run_that_nobody_watches_any_more_ends_by_itself() -> None:
    """Should the caller be killed before bubblewrap has tied its first process to it."""
    folder = (Path(sandbox.__file__).parent / name for name in ("travel.py", "guest.py", "harness.py"))
    reads, writes = os.pipe()
    heard, says = os.pipe()
    job = {"tests": "f()", "names": ["f"], "texts": [["", "import time\ndef f(): time.sleep(600)", False]]}
    job |= {"seconds": 1, "limits": {}, "own_limits": {}, "nonce": "n"}
    child = subprocess.Popen(
        [
            *sandbox.unprotected().command,
            "-c",
            BOOT,
            *(path.read_text() for path in folder),
            str(reads),
            str(says),
        ],
        pass_fds=(reads, says),
        env={},
    )
    os.write(writes, json.dumps(job).encode())
    for end in (reads, writes, says):
        os.close(end)
    assert child.wait(timeout=60) == 0
    assert b'"timeout"' in os.read(heard, 10_000)
    os.close(heard)


def test_what_floods_is_killed() -> None:
    runs = python("os.write(out, b'ready\\n')\nwhile True: os.write(out, b'x' * 4096)")
    ended = runs.run(b"", Patience(seconds=30, output=10_000))
    assert ended.flooded
    assert len(ended.output) < 10_000 + 2**16


def test_what_never_gets_ready_has_not_started() -> None:
    ended = python("while True: pass").run(b"", Patience(seconds=30, startup=0.2))
    assert (ended.started, ended.overdue) == (False, True)


def test_a_large_message_arrives_whole() -> None:
    runs = python("data = open(int(sys.argv[1]), 'rb').read()\nos.write(out, b'ready %d' % len(data))")
    assert runs.run(b"x" * 1_000_000, Patience(seconds=30)).output == b"ready 1000000"


def test_a_program_that_reads_nothing_does_not_hold_us_up() -> None:
    ended = python("os.write(out, b'ready\\n')").run(b"x" * 1_000_000, Patience(seconds=30))
    assert ended.output == b"ready\n"


def test_closing_ends_what_runs() -> None:
    runs = python("os.write(out, b'ready\\n')\nwhile True: pass")
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(runs.run, b"", Patience(seconds=60))
        while not future.done():
            runs.close()  # at whatever stage of its start
    assert not future.result().overdue


def test_no_descriptor_is_left_open_by_runs() -> None:
    runs = python("os.write(out, b'ready\\n')")
    runs.run(b"", Patience(seconds=30))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        runs.run(b"", Patience(seconds=30))
    assert len(os.listdir("/proc/self/fd")) == before


def refusal(system: str, bwrap: str | None, said: tuple[str, str]) -> str:
    with pytest.raises(InputError) as error:
        sandbox.find(system, bwrap, lambda recipe: said)
    assert "\n" not in str(error.value)
    assert "verify.unsafe: true" in str(error.value)
    return str(error.value)


def test_without_bubblewrap_the_refusal_says_how_to_get_it() -> None:
    assert "apt-get install bubblewrap" in refusal("linux", None, ("", ""))


def test_on_another_system_the_refusal_says_where_it_works() -> None:
    assert "run `pricematch verify` on Linux" in refusal("darwin", None, ("", ""))


def test_where_namespaces_are_forbidden_the_refusal_says_so_and_how_to_allow_them() -> None:
    said = refusal("linux", "/usr/bin/true", ("", "bwrap: No permissions to create new namespace"))
    assert "No permissions to create new namespace" in said
    assert "user namespaces" in said


def test_an_interpreter_too_old_for_the_harness_is_passed_over() -> None:
    assert "Python >= 3.9" in refusal("linux", "/usr/bin/true", ("3.8", ""))


def test_a_code_verifier_refuses_where_nothing_isolates_unless_told_that_it_is_unsafe() -> None:
    def nothing() -> Recipe:
        return sandbox.find("linux", None, lambda recipe: ("", ""))

    with pytest.raises(InputError, match="bubblewrap"):
        CodeVerifier(isolated=nothing)
    with CodeVerifier(isolated=nothing, unsafe=True) as made:
        assert made.version.endswith("+unsafe")


def test_the_caller_s_environment_is_never_handed_on() -> None:
    assert dict(protected().environment) == {}
    assert set(sandbox.unprotected().environment) == {"PYTHONHASHSEED"}
