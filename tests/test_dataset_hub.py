"""Pushing datasets, against a stand-in for the hub's API on loopback."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from string import Template
from typing import Any

import pytest
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from toolkit import dataset, spec
from toolkit.errors import InputError, PricematchError, Refused
from toolkit.ledger import Ledger
from toolkit.types import Outcome, Problem, Verdict

REPOSITORY = "me/matched"


class Hub:
    """The calls a commit makes; every file goes into the commit itself. Remembers what arrived."""

    def __init__(self, refuse: int | None = None) -> None:
        self.created: dict[str, Any] = {}
        self.files: dict[str, bytes] = {}
        self.tokens: set[str | None] = set()
        self._refuse = refuse

    def app(self) -> Starlette:
        at = f"/api/datasets/{REPOSITORY}"
        return Starlette(
            routes=[
                Route("/api/repos/create", self.create, methods=["POST"]),
                Route("/api/validate-yaml", self.validate, methods=["POST"]),
                Route(f"{at}/preupload/main", self.preupload, methods=["POST"]),
                Route(f"{at}/commit/main", self.commit, methods=["POST"]),
                Route(at, self.info),
                Route(f"{at}/revision/main", self.info),
            ]
        )

    async def create(self, request: Request) -> JSONResponse:
        self.tokens.add(request.headers.get("authorization"))
        self.created = await request.json()
        return JSONResponse({"url": f"{request.base_url}datasets/{REPOSITORY}", "id": REPOSITORY})

    async def validate(self, request: Request) -> JSONResponse:
        content = (await request.json())["content"]
        yaml.safe_load(content.split("---\n")[1])
        return JSONResponse({"errors": [], "warnings": []})

    async def preupload(self, request: Request) -> JSONResponse:
        asked = (await request.json())["files"]
        regular = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in asked]
        return JSONResponse({"files": regular})

    async def commit(self, request: Request) -> JSONResponse:
        if self._refuse:
            return JSONResponse({"error": "You may not: Bearer hf_secret0123"}, self._refuse)
        for line in (await request.body()).decode().splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                self.files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
        return JSONResponse(
            {"commitUrl": f"{request.base_url}datasets/{REPOSITORY}/commit/1", "commitOid": "1" * 40}
        )

    async def info(self, request: Request) -> JSONResponse:
        return JSONResponse({"id": REPOSITORY, "sha": "1" * 40})


Build = Callable[[], list[dataset.Summary]]


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    ledger, problem = (
        Ledger(tmp_path / "ledger.sqlite"),
        Problem("p", "What is 1 + 1?", "2", "1 + 1 = 2.\n#### 2"),
    )
    (key,) = ledger.add_problems([problem])
    rows = {name: ledger.add_arm(name, name, "imported", {}, name) for name in ("cheap", "poor")}
    for name, row in rows.items():
        ledger.import_draws(row, [(key, 0, "The answer is 2.", None)])
        (draw,) = next(ledger.rows("SELECT id FROM draw WHERE arm=?", (row,)))
        outcome = Outcome.CORRECT if name == "cheap" else Outcome.INCORRECT
        ledger.add_verdicts("math", "1", [(draw, "2", Verdict(outcome, "2", "a"))])
    settings = spec.Dataset(push_to_hub=REPOSITORY, controls={"human": {"from": "gold"}})
    material = dataset.Material(ledger, {key: problem}, Template("$question"), ("math", "1"), settings)
    arms = {name: [dataset.Drawn(row)] for name, row in rows.items()}
    return lambda: dataset.build(material, arms, tmp_path / "dataset", lambda _: {"match": "price"})


def test_every_dataset_with_rows_is_a_configuration_of_one_private_repository(
    build: Build, serve: Callable[[Any], str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hub = Hub()
    monkeypatch.setenv("HF_ENDPOINT", serve(hub.app()))
    monkeypatch.setenv("HF_TOKEN", "hf_secret0123")
    build()
    assert (hub.created["type"], hub.created["name"], hub.created["organization"]) == (
        "dataset",
        "matched",
        "me",
    )
    assert hub.created["visibility"] == "private"
    assert hub.tokens == {"Bearer hf_secret0123"}
    parts = {"README.md", "data.jsonl", "data.parquet", "sft.yaml", "summary.json"}
    assert set(hub.files) == {"README.md"} | {f"{arm}/{part}" for arm in ("cheap", "human") for part in parts}
    header = yaml.safe_load(hub.files["README.md"].decode().split("---\n")[1])
    assert header["configs"] == [
        {"config_name": arm, "data_files": f"{arm}/data.parquet"} for arm in ("cheap", "human")
    ]
    assert hub.files["cheap/data.parquet"] == (tmp_path / "dataset/cheap/data.parquet").read_bytes()
    assert "matched by cost: equal money spent" in hub.files["README.md"].decode()
    assert not any(b"hf_secret0123" in content for content in hub.files.values())


def test_what_the_hub_refuses_is_one_line_without_the_token_and_the_datasets_stay(
    build: Build, serve: Callable[[Any], str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", serve(Hub(refuse=403).app()))
    monkeypatch.setenv("HF_TOKEN", "hf_secret0123")
    with pytest.raises(Refused) as refused:
        build()
    assert_one_line(refused.value, REPOSITORY, "the hub did not take it", "403")
    assert "hf_secret0123" not in str(refused.value)
    assert (tmp_path / "dataset/cheap/data.parquet").is_file()


def test_an_unreachable_hub_is_one_line_and_the_datasets_stay(
    build: Build, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_TOKEN", "hf_secret0123")
    with pytest.raises(Refused) as refused:
        build()
    assert_one_line(refused.value, REPOSITORY, "the hub did not take it", "rerun `pricematch dataset`")
    assert (tmp_path / "dataset/cheap/data.parquet").is_file()


@pytest.mark.parametrize(
    ("environment", "said"),
    [({}, "set HF_TOKEN"), ({"HF_TOKEN": "hf_x", "HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set")],
)
def test_a_push_that_cannot_work_is_refused_before_anything_is_built(
    build: Build, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, environment: dict[str, str], said: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError) as refused:
        build()
    assert_one_line(refused.value, REPOSITORY, said)
    assert not (tmp_path / "dataset").exists()


def assert_one_line(error: PricematchError, *said: str) -> None:
    assert "\n" not in str(error)
    for words in said:
        assert words in str(error)
