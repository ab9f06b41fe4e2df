"""Datasets on the Hugging Face hub: one private repository, a configuration per dataset, one commit."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from toolkit.dataset.summary import Summary
from toolkit.errors import InputError, Refused, redact

FILES = ("README.md", "data.parquet", "data.jsonl", "removed.jsonl", "sft.yaml", "summary.json")
TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")  # environment variables; a token stands nowhere else


def ready(repository: str) -> str:
    """The token from the environment. Raises InputError where a push cannot work, before anything is built."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise InputError(
            f"dataset.push_to_hub: {repository}: HF_HUB_OFFLINE is set: unset it, or leave push_to_hub out"
        )
    token = next((os.environ[name] for name in TOKENS if os.environ.get(name)), None)
    if token is None:
        raise InputError(
            f"dataset.push_to_hub: {repository}: no token: set HF_TOKEN to one that may write, or leave push_to_hub out"
        )
    return token


def push(repository: str, root: Path, summaries: Sequence[Summary], token: str) -> str:
    """Upload the datasets under `root` and give the repository's address. Raises Refused where the hub does.

    The hub's address is HF_ENDPOINT, if set. Skipped datasets are not uploaded.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    written = [s for s in summaries if s.skipped is None]
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=token)
    files = [
        CommitOperationAdd(f"{s.arm}/{name}", str(root / s.arm / name))
        for s in written
        for name in FILES
        if (root / s.arm / name).is_file()
    ]
    try:
        made = api.create_repo(repository, repo_type="dataset", private=True, exist_ok=True)
        api.create_commit(
            repository,
            [CommitOperationAdd("README.md", _front_page(repository, written).encode()), *files],
            repo_type="dataset",
            commit_message=f"{len(written)} datasets: {', '.join(s.arm for s in written)}",
        )
    except Exception as error:  # every failure of the hub client means the same to the user
        raise Refused(
            f"dataset.push_to_hub: {repository}: the hub did not take it ({_reason(error, token)}): "
            f"the datasets are in {root}; mend it and rerun `pricematch dataset`"
        ) from error
    return str(made)


def _reason(error: Exception, token: str) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return redact(lines[0] if lines else type(error).__name__, (token,))[:200]


def _front_page(repository: str, written: Sequence[Summary]) -> str:
    header: dict[str, Any] = {
        "license": "other",
        "license_name": "see-terms",
        "tags": ["synthetic", "reasoning", "pricematch"],
        "configs": [{"config_name": s.arm, "data_files": f"{s.arm}/data.parquet"} for s in written],
    }
    listed = "\n".join(
        f"* [{s.arm}]({s.arm}/README.md): {s.rows:,} rows to {s.problems:,} problems; matched by {s.matching}"
        for s in written
    )
    return (
        f"---\n{yaml.safe_dump(header, sort_keys=False).rstrip()}\n---\n\n# Datasets of one matched comparison\n\n{listed}\n\n"
        f"Train on one with `trl sft --dataset_name {repository} --dataset_config NAME --model_name_or_path MODEL`.\n"
    )
