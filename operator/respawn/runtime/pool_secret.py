"""The key of a StoragePool's client, from its Secret."""

import base64
import binascii

from respawn.adapters.kubernetes.client import Client
from respawn.adapters.kubernetes.resources import SECRETS
from respawn.model.conditions import Reason
from respawn.model.storage import Pool
from respawn.ports.errors import NotFound, Refused

DEADLINE = 3.0
FIELD = "key"


class PoolSecrets:
    """Reads them, each time anew: a key may be changed."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def key(self, pool: Pool) -> str:
        """The key. Raises Refused (there is none), Unavailable."""
        if pool.secret is None:
            raise Refused(Reason.CREDENTIALS_MISSING, "it names no Secret")
        namespace, name = pool.secret
        try:
            found = await self._client.get(SECRETS, name, namespace=namespace, deadline=DEADLINE)
        except NotFound as missing:
            message = (
                f"there is no Secret {namespace}/{name}: create it, with the client's cephx key as "
                f"`{FIELD}`. What is open already stays in use"
            )
            raise Refused(Reason.CREDENTIALS_MISSING, message) from missing
        text = (found.get("data") or {}).get(FIELD)
        try:
            key = base64.b64decode(text or "", validate=True).decode().strip()
        except (binascii.Error, UnicodeDecodeError):
            key = ""
        if not key:
            message = (
                f"Secret {namespace}/{name} has no `{FIELD}`: put the client's cephx key in it"
            )
            raise Refused(Reason.CREDENTIALS_MISSING, message)
        return key
