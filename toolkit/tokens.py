"""Token counts before a server has counted: by tiktoken where its tables are cached, else characters / 4."""

import hashlib
import os
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal

ENCODING = "o200k_base"
TABLE_URL = (
    f"https://openaipublic.blob.core.windows.net/encodings/{ENCODING}.tiktoken"  # tiktoken_ext.openai_public
)


def mean_tokens(texts: Sequence[str]) -> tuple[float, Literal["tokenizer", "estimate"]]:
    """Mean tokens of these texts, and how they were counted. Never touches the network."""
    if not texts:
        return 0.0, "estimate"
    encoding = _encoding()
    if encoding is None:
        return sum(len(t) for t in texts) / 4 / len(texts), "estimate"
    return sum(len(encoding.encode(t, disallowed_special=())) for t in texts) / len(texts), "tokenizer"


@cache
def _encoding():  # type: ignore[no-untyped-def]
    """tiktoken downloads a missing table and can hang doing so; only a cached one is used."""
    folder = os.environ.get("TIKTOKEN_CACHE_DIR") or os.environ.get("DATA_GYM_CACHE_DIR")
    place = Path(folder) if folder else Path(tempfile.gettempdir()) / "data-gym-cache"
    if not (place / hashlib.sha1(TABLE_URL.encode()).hexdigest()).is_file():
        return None
    import tiktoken

    return tiktoken.get_encoding(ENCODING)
