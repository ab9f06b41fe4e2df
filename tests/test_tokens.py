"""Token counts before a server has counted, never over the network."""

import hashlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from toolkit import tokens


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    tokens._encoding.cache_clear()
    yield
    tokens._encoding.cache_clear()


def test_without_a_table_it_is_an_estimate_and_no_connection_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(*_: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(socket.socket, "connect", opened)
    assert tokens.mean_tokens(["12345678", "1234"]) == (1.5, "estimate")


def test_no_texts_have_no_tokens() -> None:
    assert tokens.mean_tokens([]) == (0.0, "estimate")


def test_the_table_is_looked_for_where_tiktoken_keeps_it() -> None:
    from tiktoken_ext import openai_public

    source = Path(openai_public.__file__).read_text(encoding="utf-8")
    assert tokens.TABLE_URL in source


def test_with_a_table_the_tokenizer_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real table is 3 MB and downloaded; one of single bytes stands in for it: a token is a byte."""
    import base64

    import tiktoken
    import tiktoken_ext.openai_public as public

    table = b"\n".join(base64.b64encode(bytes([i])) + b" %d" % i for i in range(256)) + b"\n"
    (tmp_path / hashlib.sha1(tokens.TABLE_URL.encode()).hexdigest()).write_bytes(table)
    ranks = {bytes([i]): i for i in range(256)}
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(public, "load_tiktoken_bpe", lambda *_, **__: ranks)
    monkeypatch.setattr(tiktoken.registry, "ENCODINGS", {})
    assert tokens.mean_tokens(["abcd", "é", "<|endoftext|>"]) == ((4 + 2 + 13) / 3, "tokenizer")
