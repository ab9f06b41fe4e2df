"""The sample browser, clicked through in a real browser: what it finds, what it shows, and that no text is obeyed."""

import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from toolkit import report
from toolkit.ledger import Ledger
from toolkit.types import Outcome, Problem, Usage, Verdict

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
HOSTILE = (
    "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>"
    "\u2028');window.hacked = 3;//\u202egnp.exe needle-in-the-text"
)
PROBLEMS = [
    Problem(f"p-{i:02}", f"Mia has {i} apples. How many?", str(i), level=str(i % 3 + 1)) for i in range(60)
]

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine (Debian: apt install chromium)"),
    pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="playwright is not installed"),
]


def outcome(arm: str, number: int, idx: int) -> Outcome:
    if arm == "strong" and number == 7:
        return Outcome.TIMEOUT
    return Outcome.CORRECT if idx == 0 or arm == "strong" else Outcome.INCORRECT


def text(arm: str, number: int, idx: int) -> str:
    if (arm, number, idx) == ("cheap", 41, 1):
        return HOSTILE
    return f"{arm} counts {number} at draw {idx}."


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two arms, two draws each; its solutions lie on several shelves."""
    directory = tmp_path_factory.mktemp("runs") / "demo"
    directory.mkdir()
    (directory / "run.yaml").write_text(
        yaml.safe_dump({"name": "demo", "arms": {"cheap": ["cheap"], "strong": ["strong"]}})
    )
    with Ledger(directory / "ledger.sqlite") as ledger:
        rows = ledger.add_problems(PROBLEMS)
        for name in ("cheap", "strong"):
            arm = ledger.add_arm(name, f"tiny-{name}", "simulated", {}, f"sha-{name}")
            draws = [(row, j, text(name, i, j), Usage(1, 1)) for i, row in enumerate(rows) for j in range(2)]
            ledger.import_draws(arm, draws)
            found = list(ledger.rows("SELECT id, problem, idx FROM draw WHERE arm=?", (arm,)))
            ledger.add_verdicts(
                "math",
                "1",
                [(d, "1", Verdict(outcome(name, rows.index(p), j), "1", str(d))) for d, p, j in found],
            )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("toolkit.report.browse.SHELF", 2000)
        report.write(directory, {p.id: p for p in PROBLEMS})
    assert len(list((directory / "report/browse").glob("*.js"))) > 5
    return directory


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Any, written: Path) -> Iterator[Any]:
    """The sample browser, opened from the disk; anything its console complains of fails the test."""
    opened = chromium.new_page()
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    opened.goto((written / "report/browse.html").as_uri())
    opened.wait_for_selector("#solutions h2")
    yield opened
    opened.close()
    assert complaints == []


def status(page: Any, said: str) -> None:
    from playwright.sync_api import expect

    expect(page.locator("#status")).to_have_text(said)


def test_all_problems_are_listed_a_page_at_a_time(page: Any) -> None:
    status(page, "60 problems")
    assert page.locator("#list li").count() == 25
    assert page.locator("#before").is_disabled()
    page.click("#after")
    page.click("#after")
    assert page.locator("#list li").count() == 10
    assert page.locator("#place").inner_text() == "51–60 of 60"
    assert page.locator("#after").is_disabled()


def test_two_models_stand_side_by_side_on_one_problem(page: Any) -> None:
    page.click("#list li:nth-child(4) button")
    page.wait_for_selector("h2:text-is('p-03')")
    assert page.locator(".two section").count() == 2
    left, right = page.locator(".two pre").all_inner_texts()
    assert (left, right) == ("cheap counts 3 at draw 0.", "strong counts 3 at draw 0.")
    page.get_by_label("Left: draw").select_option(label="draw 2, incorrect")
    assert page.locator(".two pre").first.inner_text() == "cheap counts 3 at draw 1."
    page.get_by_label("Right: model").select_option(label="cheap")
    assert page.locator(".two pre").last.inner_text() == "cheap counts 3 at draw 0."


def test_filters_keep_the_problems_with_such_a_draw_and_show_that_draw(page: Any) -> None:
    page.select_option("#outcome", label="timeout")
    status(page, "1 problem")
    page.select_option("#arm", label="cheap")
    status(page, "0 problems")
    assert page.locator("#place").inner_text() == "nothing found"
    page.select_option("#outcome", label="incorrect")
    status(page, "60 problems")
    page.click("#list li:nth-child(2) button")
    page.wait_for_selector("h2:text-is('p-01')")
    assert page.locator(".two pre").first.inner_text() == "cheap counts 1 at draw 1."
    page.select_option("#level", label="2")
    status(page, "20 problems")


def test_search_looks_through_every_text_and_marks_what_it_found(page: Any) -> None:
    page.fill("#query", "Counts 52 at DRAW 1")
    status(page, "1 problem found")
    page.click("#list button")
    page.wait_for_selector("h2:text-is('p-52')")
    assert page.locator("mark").first.inner_text() == "counts 52 at draw 1"
    page.fill("#query", "there is no such text")
    status(page, "0 problems found")
    page.fill("#query", "")
    status(page, "60 problems")


def test_what_a_model_wrote_is_shown_and_never_run(page: Any) -> None:
    page.fill("#query", "needle-in-the-text")
    status(page, "1 problem found")
    page.click("#list button")
    page.wait_for_selector("h2:text-is('p-41')")
    shown = page.locator(".two pre").first.inner_text()
    assert "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>" in shown
    assert "⟨U+2028⟩" in shown
    assert "⟨U+202E⟩gnp.exe" in shown
    assert page.locator("#solutions img, #solutions script").count() == 0
    session = page.context.new_cdp_session(page)
    found = session.send("Runtime.evaluate", {"expression": "window.hacked"})["result"]
    assert found["type"] == "undefined"


def test_everything_can_be_done_by_keyboard(page: Any) -> None:
    page.keyboard.press("Tab")
    assert page.locator(":focus").inner_text() == "Skip to the solutions"
    for wanted in ("Back to the report", "query", "arm", "outcome", "level"):
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        assert wanted in (focused.get_attribute("id"), focused.text_content())
    page.locator("#query").focus()
    page.keyboard.type("p-17")
    status(page, "1 problem found")
    page.locator("#level").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector("h2:text-is('p-17')")
    assert page.locator(":focus").inner_text() == "p-17"
    page.keyboard.press("Tab")
    assert page.locator(":focus").get_attribute("aria-label") == "Left: model"


@pytest.mark.parametrize("width", [360, 1200])
@pytest.mark.parametrize("name", ["report.html", "report/browse.html"])
def test_no_page_is_wider_than_the_screen(chromium: Any, written: Path, name: str, width: int) -> None:
    page = chromium.new_page(viewport={"width": width, "height": 800})
    page.goto((written / name).as_uri())
    page.wait_for_load_state()
    session = page.context.new_cdp_session(page)
    found = session.send("Runtime.evaluate", {"expression": "document.documentElement.scrollWidth"})
    page.close()
    assert found["result"]["value"] <= width


def test_the_report_links_to_the_browser_and_back(chromium: Any, written: Path) -> None:
    page = chromium.new_page()
    page.goto((written / "report.html").as_uri())
    page.click("text=Browse all 240 solutions")
    page.wait_for_selector("#solutions h2")
    page.click("text=Back to the report")
    page.wait_for_selector("h2:text-is('Verdict')")
    page.close()


def test_files_that_are_gone_are_said_to_be(chromium: Any, written: Path, tmp_path: Path) -> None:
    alone = tmp_path / "browse.html"
    alone.write_bytes((written / "report/browse.html").read_bytes())
    page = chromium.new_page()
    page.goto(alone.as_uri())
    status(page, "The files beside this page (browse/) are not here: write the report again.")
    page.close()
