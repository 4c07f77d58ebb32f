"""A lean client of the API server: dictionaries in and out, a deadline on every request.

Reads go without resourceVersion, so the API server answers them with what is true now, not from a
cache. Writes are merge patches that carry the resourceVersion they were decided on.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Self

from respawn.adapters.kubernetes.config import Endpoint
from respawn.adapters.kubernetes.errors import of_status
from respawn.adapters.kubernetes.resources import LEASES, Resource
from respawn.adapters.kubernetes.revisions import Revisions
from respawn.adapters.kubernetes.transport import Transport

Object = dict[str, Any]

DEADLINE = 10.0
CHUNK = 500


class Client:
    """One session with one API server. It belongs to the event loop it is entered in.

    A thread with a loop of its own needs a client of its own. `manager` names us in an object's
    managedFields; `deadline` (seconds) is the deadline of each request unless told otherwise.
    `revisions` is shared by all clients of a process that must not outlive a restored API.
    Every method raises the errors of `errors`.
    """

    def __init__(
        self, endpoint: Endpoint, *, manager: str = "respawn", deadline: float = DEADLINE,
        revisions: Revisions | None = None,
    ) -> None:  # fmt: skip
        self._manager = manager
        self._deadline = deadline
        self._revisions = revisions
        self._http = Transport(endpoint, user_agent=manager)

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *ending: Any) -> None:
        await self._http.__aexit__(*ending)

    async def get(
        self,
        resource: Resource,
        name: str,
        *,
        namespace: str | None = None,
        deadline: float | None = None,
    ) -> Object:
        """The object as it is now."""
        return await self._request(
            "GET", resource.path(name, namespace=namespace), deadline=deadline
        )

    async def list_all(
        self,
        resource: Resource,
        *,
        namespace: str | None = None,
        labels: str = "",
        fields: str = "",
        chunk: int = CHUNK,
        deadline: float | None = None,
    ) -> tuple[list[Object], str]:
        """All objects, and the resourceVersion of the whole list.

        Large lists come in chunks, `deadline` for each. `labels` and `fields` are selectors.
        """
        path = resource.path(namespace=namespace)
        query = _query(limit=chunk, labelSelector=labels, fieldSelector=fields)
        before = self._revisions.newest(resource) if self._revisions else 0
        items: list[Object] = []
        while True:
            page = await self._request("GET", path, query=query, deadline=deadline)
            items += page.get("items") or ()
            token = page["metadata"].get("continue")
            if not token:
                break
            query["continue"] = token
        version = page["metadata"]["resourceVersion"]
        if self._revisions:
            self._revisions.listed(resource, int(version), before)
        return items, version

    async def revision(self, *, deadline: float | None = None) -> int:
        """The API's revision now: no object has a newer resourceVersion."""
        path = LEASES.path(namespace="respawn")
        page = await self._request("GET", path, query={"limit": "1"}, deadline=deadline)
        return int(page["metadata"]["resourceVersion"])

    async def create(
        self,
        resource: Resource,
        body: Mapping[str, Any],
        *,
        namespace: str | None = None,
        deadline: float | None = None,
    ) -> Object:
        """Create it; AlreadyExists if there is one of that name."""
        document = {"apiVersion": resource.api_version, "kind": resource.kind, **body}
        path = resource.path(namespace=namespace)
        query = {"fieldManager": self._manager}
        return await self._request("POST", path, body=document, query=query, deadline=deadline)

    async def patch(
        self,
        resource: Resource,
        name: str,
        change: Mapping[str, Any],
        *,
        resource_version: str,
        namespace: str | None = None,
        part: str = "",
        deadline: float | None = None,
    ) -> Object:
        """Merge `change` into the object, if it is still at `resource_version`; else Conflict.

        null removes a field. `part` is a subresource, such as `status`.
        """
        if not resource_version:
            raise ValueError("a write needs the resourceVersion it was decided on")
        metadata = {**change.get("metadata", {}), "resourceVersion": resource_version}
        path = resource.path(name, namespace=namespace, part=part)
        return await self._request(
            "PATCH",
            path,
            body={**change, "metadata": metadata},
            query={"fieldManager": self._manager},
            content_type="application/merge-patch+json",
            deadline=deadline,
        )

    async def patch_status(
        self,
        resource: Resource,
        name: str,
        status: Mapping[str, Any],
        *,
        resource_version: str,
        namespace: str | None = None,
        deadline: float | None = None,
    ) -> Object:
        """Merge `status` into the object's status, if it is still at `resource_version`."""
        return await self.patch(
            resource,
            name,
            {"status": status},
            resource_version=resource_version,
            namespace=namespace,
            part="status",
            deadline=deadline,
        )

    async def delete(
        self,
        resource: Resource,
        name: str,
        *,
        uid: str,
        resource_version: str | None = None,
        namespace: str | None = None,
        deadline: float | None = None,
    ) -> Object:
        """Delete exactly the object of that UID (at that version, if given); else Conflict."""
        preconditions = _query(uid=uid, resourceVersion=resource_version or "")
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": preconditions}
        path = resource.path(name, namespace=namespace)
        return await self._request("DELETE", path, body=body, deadline=deadline)

    async def events_since(
        self,
        resource: Resource,
        resource_version: str,
        *,
        silence: float,
        lifetime: float,
        namespace: str | None = None,
        labels: str = "",
        fields: str = "",
    ) -> AsyncGenerator[Object, None]:
        """Raw watch events after `resource_version`, until the server ends the stream.

        It does so after `lifetime` seconds. Unavailable after `silence` seconds without a byte;
        Expired if that version is forgotten. Bookmarks are among the events.
        """
        query = _query(
            watch="true",
            allowWatchBookmarks="true",
            resourceVersion=resource_version,
            timeoutSeconds=max(1, round(lifetime)),
            labelSelector=labels,
            fieldSelector=fields,
        )
        path = resource.path(namespace=namespace)
        stream = self._http.stream(path, query=query, connect=self._deadline, silence=silence)
        async with aclosing(stream):
            async for event in stream:
                if event["type"] == "ERROR":
                    status = event["object"]
                    raise of_status(int(status.get("code") or 500), status)
                yield event

    async def _request(
        self, method: str, path: str, *, deadline: float | None, **more: Any
    ) -> Object:
        patience = self._deadline if deadline is None else deadline
        return await self._http.request(method, path, deadline=patience, **more)


def _query(**words: object) -> dict[str, str]:
    return {key: str(value) for key, value in words.items() if value != ""}
