"""A service that W&B's own client can talk to: it answers what a run asks and keeps what a run sends.

Answers were written down from what the client of the pinned version asks for; a question that is not here is a bad
request, which the client does not repeat.
"""

import base64
import gzip
import json
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Asked = dict[str, object]


@dataclass
class Kept:
    """What one run sent: by name what was logged as an artifact of which kind, and which artifacts it used."""

    group: str
    job: str
    config: Asked
    history: list[Asked] = field(default_factory=list)
    summary: Asked = field(default_factory=dict)
    logged: dict[str, str] = field(default_factory=dict)
    used: list[str] = field(default_factory=list)
    exitcode: int | None = None


@dataclass
class Service:
    """The runs by id, in the order in which they began; artifacts by name, whoever logged them.

    It answers nothing before it is ``awake``; after a minute it does anyway.
    """

    address: str = ""
    runs: dict[str, Kept] = field(default_factory=dict)
    artifacts: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    views: list[Asked] = field(default_factory=list)
    awake: threading.Event = field(default_factory=threading.Event)

    def answer(self, operation: str, asked: Asked) -> object | None:
        """The data of a GraphQL answer; None for a question that it does not know."""
        known: dict[str, Callable[[Asked], object]] = {
            "ServerFeaturesQuery": lambda _: {"serverInfo": {"features": []}},
            "ProbeServerCapabilities": lambda _: {name: {"fields": []} for name in SCHEMA},
            "InputFields": lambda _: {"TypeInfo": {"inputFields": []}},
            "viewer": lambda _: {"viewer": {"id": "me"}},
            "UpsertBucket": self._run,
            "CreateRunFiles": self._run_files,
            "CreateArtifact": self._artifact,
            "CreateArtifactManifest": self._manifest,
            "CreateArtifactFiles": self._artifact_files,
            "CommitArtifact": lambda asked: {
                "commitArtifact": {"artifact": {"id": asked["artifactID"], "digest": "0"}}
            },
            "ArtifactType": lambda asked: {"project": {"artifact": self._found(str(asked["name"]))}},
            "ArtifactByName": lambda asked: {"project": {"artifact": self._found(str(asked["name"]))}},
            "ArtifactByID": lambda asked: {"artifact": self._found(_name(asked["id"]))},
            "FetchArtifactManifest": lambda asked: {"artifact": {"currentManifest": {"file": self._file(asked["id"])}}},
            "ProbeServerUseArtifactInput": lambda _: {"UseArtifactInputInfoType": {"inputFields": []}},
            "UseArtifact": self._use,
            "ProjectInternalId": lambda asked: {"project": {"id": "project", "internalId": "1"}},
            "GetProjects": lambda _: {"models": {"edges": [{"node": LISTED}], "pageInfo": LAST_PAGE}},
            "upsertView": self._view,
        }
        return known[operation](asked) if operation in known else None

    def stream(self, run: str, sent: Asked) -> None:
        """History, summary and the end of a run, as its client streams them."""
        kept = self.runs[run]
        files = sent.get("files") or {}
        kept.history += [json.loads(line) for line in files.get("wandb-history.jsonl", {}).get("content", [])]
        for text in files.get("wandb-summary.json", {}).get("content", []):
            kept.summary = json.loads(text)
        if sent.get("complete"):
            kept.exitcode = int(sent["exitcode"])

    def _run(self, asked: Asked) -> object:
        name, config = str(asked["name"]), json.loads(str(asked["config"]))
        found = {key: entry["value"] for key, entry in config.items()}
        self.runs.setdefault(name, Kept(str(asked["groupName"]), str(asked["jobType"]), found))
        bucket = {"id": name, "name": name, "displayName": name, "project": PROJECT, "historyLineCount": 0}
        return {"upsertBucket": {"bucket": bucket, "inserted": True}}

    def _run_files(self, asked: Asked) -> object:
        files = [{"name": name, "uploadUrl": f"{self.address}/{name}"} for name in asked["files"]]
        return {"createRunFiles": {"uploadHeaders": [], "files": files}}

    def _artifact(self, asked: Asked) -> object:
        entry = asked["input"]
        name, kind = entry["artifactCollectionName"], entry["artifactTypeName"]
        self.artifacts[name] = self.runs[entry["runName"]].logged[name] = kind
        made = {"id": _id(name), "state": "PENDING", "artifactSequence": {"latestArtifact": None}}
        return {"createArtifact": {"artifact": made}}

    def _manifest(self, asked: Asked) -> object:
        manifest = {"id": "manifest", "file": self._file(asked["artifactID"])}
        return {"createArtifactManifest": {"artifactManifest": manifest}}

    def _file(self, artifact: object) -> Asked:
        address = f"{self.address}/manifest/{_name(artifact)}"
        return {"id": "file", "uploadUrl": address, "directUrl": address, "uploadHeaders": []}

    def _artifact_files(self, asked: Asked) -> object:
        nodes = [self._node(entry) for entry in asked["artifactFiles"]]
        return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}

    def _node(self, entry: Asked) -> Asked:
        name, artifact = entry["name"], entry["artifactID"]
        address = f"{self.address}/{_name(artifact)}/{name}"
        return {"storagePath": name, "uploadUrl": address, "uploadHeaders": [], "artifact": {"id": artifact}}

    def _found(self, name: str) -> Asked | None:
        name = name.split(":")[0]
        if name not in self.artifacts:
            return None
        kind = {"name": self.artifacts[name]}
        return {
            "__typename": "Artifact", "id": _id(name), "artifactType": kind, "versionIndex": 0, "state": "COMMITTED",
            "artifactSequence": {"__typename": "ArtifactSequence", "name": name, "project": PROJECT},
            "description": None, "metadata": None, "ttlDurationSeconds": -1, "ttlIsInherited": True, "tags": [],
            "historyStep": None, "size": 0, "digest": "0", "commitHash": None, "fileCount": 0, "aliases": [],
            "createdAt": "2026-01-01T00:00:00Z", "updatedAt": None,
        }  # fmt: skip

    def _use(self, asked: Asked) -> object:
        name = _name(asked["artifactID"])
        self.runs[str(asked["runName"])].used.append(name)
        return {"useArtifact": {"artifact": self._found(name)}}

    def _view(self, asked: Asked) -> object:
        self.views.append(asked)
        project = {"id": "project", "name": asked["projectName"], "entityName": asked["entityName"]}
        return {"upsertView": {"view": {**asked, "id": "1", "project": project}, "inserted": True}}


def _id(name: str) -> str:
    """The client reads an artifact's id as base64."""
    return base64.b64encode(name.encode()).decode()


def _name(artifact: object) -> str:
    return base64.b64decode(str(artifact)).decode()


SCHEMA = ("QueryType", "MutationType", "ServerInfoType")
PROJECT = {"id": "project", "name": "selectmm", "entity": {"id": "me", "name": "me"}}
LISTED = {
    "__typename": "Project", "id": "project", "name": "selectmm", "entityName": "me", "isBenchmark": False,
    "createdAt": "2026-01-01T00:00:00Z", "user": None,
}  # fmt: skip
LAST_PAGE = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}


class Server(ThreadingHTTPServer):
    """It does not complain of a client that hangs up, as W&B's does when it ends."""

    def handle_error(self, request: object, client_address: object) -> None:
        """Told by the test that waits for the answer; anything else is printed."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def serving() -> Iterator[Service]:
    """The service at an address of this machine, until the block ends."""
    service = Service()
    service.awake.set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._send(service.files.get(self.path, b"{}"))

        def do_PUT(self) -> None:
            service.files[self.path] = self._read()
            self._send(b"{}")

        def do_POST(self) -> None:
            sent = json.loads(self._read())
            service.awake.wait(60)
            if self.path.endswith("/file_stream"):
                service.stream(self.path.split("/")[-2], sent)
                self._send(b"{}")
                return
            name, first = re.match(r"\s*(?:\w+\s+(\w+))?[^{]*\{\s*(\w+)", str(sent["query"])).groups()
            operation = name or first
            data = service.answer(operation, sent.get("variables") or {})
            self._send(json.dumps({"data": data}).encode(), 400 if data is None else 200)

        def _read(self) -> bytes:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            return gzip.decompress(content) if self.headers.get("Content-Encoding") == "gzip" else content

        def _send(self, content: bytes, status: int = 200) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with Server(("127.0.0.1", 0), Handler) as server:
        service.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield service
        finally:
            server.shutdown()
            thread.join()
