"""Gemini's batch API with inlined requests, as translations around the provider's plain requests.

ai.google.dev/api/batch-api (read 2026-11-21): a batch is an operation whose response holds the answers.
`displayName` carries our mark. Works with an API key alone; no bucket, no files.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from toolkit.errors import Kind, ProviderError
from toolkit.provider import RemoteBatch, Steps, Translator
from toolkit.types import HttpCall, HttpReply, Reply, Request

STATES = {"SUCCEEDED": "ended", "EXPIRED": "ended", "CANCELLED": "ended", "FAILED": "failed"}
LISTED = 100  # batches in one page
# An error of one part is a google.rpc.Status; what its code would be over HTTP. Parts with errors are not billed.
AS_HTTP = {3: 400, 5: 404, 7: 403, 8: 429, 9: 400, 11: 400, 16: 401}
NOT_SERVED = frozenset({1, 4, 10})  # cancelled, deadline exceeded, aborted


@dataclass(frozen=True, slots=True)
class GeminiBatch:
    """The batch API beside `plain`."""

    plain: Translator
    base_url: str  # ends in /v1beta
    key: str | None = None
    max_parts: int = 50_000
    max_bytes: int = 19_000_000  # 20 MB are allowed for inlined requests

    def line(self, key: str, request: Request) -> bytes:
        metadata = json.dumps({"key": key}).encode()
        return b'{"request": ' + self.plain.encode(request).body + b', "metadata": ' + metadata + b"}"

    def submit(self, intent: str, request: Request, lines: Sequence[bytes]) -> Steps[RemoteBatch]:
        call = self.plain.encode(request)
        head = (
            f'{{"batch": {{"displayName": {json.dumps(intent)}, "inputConfig": {{"requests": {{"requests": ['
        )
        body = head.encode() + b",".join(lines) + b"]}}}}"
        url = call.url.replace(":generateContent", ":batchGenerateContent")
        return _remote(self._body((yield HttpCall(url, call.headers, body))))

    def find(self, intent: str) -> Steps[RemoteBatch | None]:
        token = ""
        while True:
            page = self._body((yield self._get(f"batches?pageSize={LISTED}{token}")))
            for operation in page.get("operations") or ():
                if (operation.get("metadata") or {}).get("displayName") == intent:
                    return _remote(operation)
            if not page.get("nextPageToken"):
                return None
            token = f"&pageToken={page['nextPageToken']}"

    def poll(self, remote_id: str) -> Steps[RemoteBatch]:
        return _remote(self._body((yield self._get(remote_id))))

    def results(self, batch: RemoteBatch) -> Steps[dict[str, HttpReply | None]]:
        yield from ()  # they came with the batch
        held = batch.body.get("response") or (batch.body.get("metadata") or {}).get("output") or {}
        parts = (held.get("inlinedResponses") or {}).get("inlinedResponses") or ()
        return dict(_answer(part) for part in parts)

    def decode(self, request: Request, reply: HttpReply) -> Reply:
        return self.plain.decode(request, reply)

    def _get(self, path: str) -> HttpCall:
        headers = {"accept": "application/json"} | ({"x-goog-api-key": self.key} if self.key else {})
        return HttpCall(f"{self.base_url.rstrip('/')}/{path}", headers, b"", "GET")

    def _body(self, reply: HttpReply) -> dict[str, Any]:
        if reply.status != 200:
            self._refused(reply)
        try:
            body = json.loads(reply.body)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise ProviderError(Kind.BAD_BODY, "batch: the answer is not a JSON object", retryable=True)
        return body

    def _refused(self, reply: HttpReply) -> NoReturn:
        self.plain.decode(Request("batch"), reply)
        raise AssertionError("a status other than 200 is refused")


def _remote(operation: Mapping[str, Any]) -> RemoteBatch:
    if not operation.get("name"):
        raise ProviderError(Kind.BAD_BODY, "batch: the answer lacks a name", retryable=True)
    status = str((operation.get("metadata") or {}).get("state") or "").rpartition("STATE_")[2]
    error = operation.get("error") or {}
    state = STATES.get(status, "failed" if error else "ended" if operation.get("done") else "running")
    message = f"{status.lower()}: {error['message']}" if error.get("message") else status.lower()
    complete = state == "ended" and status in ("SUCCEEDED", "")
    return RemoteBatch(str(operation["name"]), state, complete, message, operation)  # type: ignore[arg-type]


def _answer(part: Mapping[str, Any]) -> tuple[str, HttpReply | None]:
    """One inlined answer: its key and what a plain request would have been answered."""
    try:
        key, error = str(part["metadata"]["key"]), part.get("error")
        if not error:
            return key, HttpReply(200, {}, json.dumps(part["response"]).encode())
        code = int(error.get("code") or 0)
        if code in NOT_SERVED:
            return key, None
        status = code if code >= 400 else AS_HTTP.get(code, 503)
        return key, HttpReply(status, {}, json.dumps({"error": error}).encode())
    except (KeyError, TypeError, AttributeError, ValueError) as wrong:
        raise ProviderError(Kind.BAD_BODY, f"batch: an answer lacks {wrong}", retryable=True) from wrong
