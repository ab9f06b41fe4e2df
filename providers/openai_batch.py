"""OpenAI's files and batches, as translations around the same provider's plain requests.

platform.openai.com/docs/api-reference/batch (read 2026-11-21): a JSONL file of requests is uploaded, a batch
names it, its answers are one file and its refusals another. `metadata` carries our mark.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from providers.openai_compatible import OpenAICompatible
from toolkit.errors import Kind, ProviderError
from toolkit.provider import RemoteBatch, Steps
from toolkit.types import HttpCall, HttpReply, Reply, Request

MARK = "pricematch_intent"  # key in a batch's metadata
NOT_SERVED = frozenset({"batch_expired", "batch_cancelled"})  # error codes of parts nobody worked on
STATES = {"completed": "ended", "expired": "ended", "cancelled": "ended", "failed": "failed"}
LISTED = 100  # batches in one page, the most that is allowed


@dataclass(frozen=True, slots=True)
class OpenAIBatch:
    """The batch API beside `plain`."""

    plain: OpenAICompatible
    max_parts: int = 50_000
    max_bytes: int = 190_000_000  # 200 MB are allowed, the form around it included

    def line(self, key: str, request: Request) -> bytes:
        call = self.plain.encode(request)
        head = json.dumps({"custom_id": key, "method": "POST", "url": self._path(call)})
        return head[:-1].encode() + b', "body": ' + call.body + b"}"

    def submit(self, intent: str, request: Request, lines: Sequence[bytes]) -> Steps[RemoteBatch]:
        uploaded = self._body((yield self._upload(intent, lines)))
        asked = {
            "input_file_id": uploaded["id"],
            "endpoint": self._path(self.plain.encode(request)),
            "completion_window": "24h",
            "metadata": {MARK: intent},
        }
        return _remote(self._body((yield self._call("POST", "batches", json.dumps(asked).encode()))))

    def find(self, intent: str) -> Steps[RemoteBatch | None]:
        after = ""
        while True:
            page = self._body((yield self._call("GET", f"batches?limit={LISTED}{after}")))
            listed = page.get("data") or []
            for batch in listed:
                if (batch.get("metadata") or {}).get(MARK) == intent:
                    return _remote(batch)
            if not listed or not page.get("has_more"):
                return None
            after = f"&after={listed[-1]['id']}"

    def poll(self, remote_id: str) -> Steps[RemoteBatch]:
        return _remote(self._body((yield self._call("GET", f"batches/{remote_id}"))))

    def results(self, batch: RemoteBatch) -> Steps[dict[str, HttpReply | None]]:
        answers: dict[str, HttpReply | None] = {}
        for name in ("output_file_id", "error_file_id"):
            if file := batch.body.get(name):
                reply = yield self._call("GET", f"files/{file}/content")
                if reply.status != 200:
                    self._refused(reply)
                answers |= dict(_answer(line) for line in reply.body.splitlines() if line.strip())
        return answers

    def decode(self, request: Request, reply: HttpReply) -> Reply:
        return self.plain.decode(request, reply)

    def _path(self, call: HttpCall) -> str:
        return "/v1/" + call.url.removeprefix(self.plain.base_url.rstrip("/") + "/")

    def _call(self, method: str, path: str, body: bytes = b"", kind: str = "application/json") -> HttpCall:
        headers = {"accept": "application/json"} | ({"content-type": kind} if body else {})
        if self.plain.key:
            headers["authorization"] = f"Bearer {self.plain.key}"
        return HttpCall(f"{self.plain.base_url.rstrip('/')}/{path}", headers, body, method)

    def _upload(self, intent: str, lines: Sequence[bytes]) -> HttpCall:
        """A form by hand (RFC 7578); the mark is random, so it serves as the boundary too."""
        edge = f"--{intent}\r\n"
        purpose = f'{edge}content-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        file = (
            f'{edge}content-disposition: form-data; name="file"; filename="{intent}.jsonl"\r\n'
            "content-type: application/jsonl\r\n\r\n"
        )
        form = b"".join(
            [purpose.encode(), file.encode(), b"\n".join(lines), b"\n", f"\r\n--{intent}--\r\n".encode()]
        )
        return self._call("POST", "files", form, f"multipart/form-data; boundary={intent}")

    def _body(self, reply: HttpReply) -> dict[str, Any]:
        if reply.status != 200:
            self._refused(reply)
        return _parsed(reply.body)

    def _refused(self, reply: HttpReply) -> NoReturn:
        self.plain.decode(Request("batch"), reply)
        raise AssertionError("a status other than 200 is refused")


def _parsed(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise ProviderError(Kind.BAD_BODY, "batch: the answer is not a JSON object", retryable=True)
    return body


def _remote(body: Mapping[str, Any]) -> RemoteBatch:
    if not body.get("id"):
        raise ProviderError(Kind.BAD_BODY, "batch: the answer lacks an id", retryable=True)
    status = str(body.get("status"))
    state = STATES.get(status, "running")
    said = [str(e.get("message")) for e in (body.get("errors") or {}).get("data") or ()]
    message = f"{status}: {said[0]}" if said else status
    return RemoteBatch(str(body["id"]), state, status == "completed", message, body)  # type: ignore[arg-type]


def _answer(line: bytes) -> tuple[str, HttpReply | None]:
    """One line of an output or error file: its key and what a plain request would have been answered."""
    part = _parsed(line)
    try:
        key, error, said = str(part["custom_id"]), part.get("error") or {}, part.get("response")
        if error.get("code") in NOT_SERVED:
            return key, None
        if not said:
            return key, HttpReply(503, {}, json.dumps({"error": error}).encode())
        headers = {"x-request-id": str(said.get("request_id") or "")}
        return key, HttpReply(int(said["status_code"]), headers, json.dumps(said["body"]).encode())
    except (KeyError, TypeError, AttributeError, ValueError) as wrong:
        raise ProviderError(
            Kind.BAD_BODY, f"batch: a line of the results lacks {wrong}", retryable=True
        ) from wrong
