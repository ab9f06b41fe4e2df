"""Time, memory and size of a report on many draws, and how quickly its sample browser opens and searches.

python -m tests.bench.report --draws 100000 [--browser /usr/bin/chromium]
"""

import argparse
import json
import multiprocessing
import re
import resource
import tempfile
import time
from pathlib import Path

import yaml

from toolkit import report
from toolkit.ledger import Ledger
from toolkit.types import Outcome, Problem, Usage, Verdict

ARMS, PER_PROBLEM = ("cheap", "strong"), 8
TEXT = "First, {i}-{j}={k} shells. Next, we count them once more, with care, and find {k} again.\n" * 6


def ledger(folder: Path, draws: int) -> dict[str, Problem]:
    """A ledger of two arms with so many draws of about 500 characters."""
    problems = [
        Problem(f"p-{i:06}", f"Eva has {i} shells and gives {i % 7} away. How many are left?", str(i - i % 7))
        for i in range(draws // PER_PROBLEM // len(ARMS))
    ]
    with Ledger(folder / "ledger.sqlite") as made:
        rows = made.add_problems(problems)
        for name in ARMS:
            arm = made.add_arm(name, f"tiny-{name}", "openai_compatible", {"temperature": 0.7}, f"sha-{name}")
            drawn = (
                (row, j, TEXT.format(i=i, j=j, k=i - j), Usage(60, 120))
                for i, row in enumerate(rows)
                for j in range(PER_PROBLEM)
            )
            made.import_draws(arm, list(drawn))
            found = made.rows("SELECT id, problem, idx FROM draw WHERE arm=?", (arm,))
            verdicts = [
                (draw, "1", Verdict(Outcome.CORRECT if (p + idx) % 3 else Outcome.INCORRECT, "1", f"{draw}"))
                for draw, p, idx in found
            ]
            made.add_verdicts("math", "1", verdicts)
    (folder / "run.yaml").write_text(
        yaml.safe_dump({"name": "large", "arms": {a: [a] for a in ARMS}, "report": {"browse": draws}})
    )
    return {p.id: p for p in problems}


def written(folder: Path, problems: dict[str, Problem]) -> dict[str, float]:
    began = time.perf_counter()
    page = report.write(folder, problems, {})
    beside = [f for f in (folder / "report").rglob("*") if f.is_file()]
    return {
        "seconds to write": round(time.perf_counter() - began, 2),
        "page, kB": round(page.stat().st_size / 1e3, 1),
        "beside it, MB": round(sum(f.stat().st_size for f in beside) / 1e6, 1),
        "index, MB": round((folder / "report/browse/index.js").stat().st_size / 1e6, 2),
        "files": len(beside),
        "peak memory, MB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, 1),
    }


def opened(folder: Path, browser: str) -> dict[str, float]:
    """Seconds until the list stands, and until a text of one problem is found among all."""
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
        page = chromium.new_page()
        began = time.perf_counter()
        page.goto((folder / "report/browse.html").as_uri())
        page.wait_for_selector("#solutions h2")
        shown = time.perf_counter() - began
        times = {"seconds to open": round(shown, 2)}
        last = json.loads((folder / "report/browse/index.js").read_text()[19:-3])["problems"][-1][0]
        for what, fill in (
            ("to filter by outcome", None),
            ("to search all texts", f"eva has {int(last[2:])} shells"),
        ):
            began = time.perf_counter()
            if fill is None:
                page.select_option("#outcome", label="incorrect")
            else:
                page.fill("#query", fill)
            wanted = "1 problem found" if fill else re.compile(r"^[\d,]+ problems$")
            expect(page.locator("#status")).to_have_text(wanted, timeout=120_000)
            times[f"seconds {what}"] = round(time.perf_counter() - began, 2)
        chromium.close()
        return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=100_000)
    parser.add_argument("--browser", help="path of a chromium")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        problems = ledger(Path(folder), asked.draws)
        with multiprocessing.get_context("spawn").Pool(1) as other:  # whose memory is the report's alone
            found = other.apply(written, (Path(folder), problems))
        found |= opened(Path(folder), asked.browser) if asked.browser else {}
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
