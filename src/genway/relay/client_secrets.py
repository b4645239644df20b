"""Keys for browsers: short-lived, made with a key of an account, good for a realtime session on that key's account.

Nothing is stored. Such a key is a token that only this server can make and read; in it are the hash of the key it was made
with, whose limits, budget and end are its own too, and the settings that the session begins with.
"""

from __future__ import annotations

import zlib
from base64 import b85decode, b85encode
from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from uuid_utils import uuid7

from genway.access import store as access
from genway.config import ConfigError
from genway.db import Database
from genway.errors import InvalidRequest, NotFound, Unauthenticated
from genway.relay.callers import Callers, Holder, credential
from genway.relay.desk import Inquiry, Routes, Told
from genway.relay.session import Settings
from genway.vault import Vault

PREFIX = "ek_"
SECONDS = 600
LEGACY_SECONDS = 60
LARGEST_SESSION = 16 * 1024
LONGEST_KEY = 24 * 1024


class Granted(msgspec.Struct, array_like=True):
    """What such a key holds. key: the hash of the key it was made with. session: JSON, the settings that the session begins
    with. legacy: these are of the older form."""

    key: str
    expires_at: int
    session: bytes
    legacy: bool = False


class Expiry(msgspec.Struct):
    anchor: Literal["created_at"] = "created_at"
    seconds: Annotated[int, Meta(ge=10, le=7200)] | None = None


class Wanted(msgspec.Struct):
    """The present form, and what the older one has in its `client_secret`."""

    expires_after: Expiry | None = None
    session: dict[str, Any] | None = None

    def seconds(self, usual: int) -> int:
        return (self.expires_after.seconds if self.expires_after is not None else None) or usual


class Begins(Settings):
    """What matters here of the settings that a session begins with."""

    type: Literal["realtime", "transcription"] | None = None
    model: str | None = None


class ClientSecrets:
    """Makes them (`routes`), and knows whose they are (`holder`)."""

    def __init__(self, database: Database, vault: Vault, callers: Callers, *, clock: Callable[[], float]) -> None:
        self._database = database
        self._vault = vault
        self._callers = callers
        self._clock = clock
        self.routes = Routes()
        self.routes.on("POST", "/realtime/client_secrets", wire="openai", counts=True)(self.create)
        self.routes.on("POST", "/realtime/sessions", wire="openai", counts=True)(self.create_session)
        self.routes.on("POST", "/realtime/transcription_sessions", wire="openai", counts=True)(
            self.create_transcription_session
        )
        self.routes.on("POST", "/realtime/calls", "/realtime/calls/{rest+}", wire="openai")(self.no_calls)
        self.routes.on("POST", "/realtime/translations/{rest+}", wire="openai")(self.no_calls)

    async def create(self, inquiry: Inquiry) -> Told:
        """`{expires_after, session}` → `{value, expires_at, session}`."""
        wanted: Wanted = _read(await inquiry.body(), Wanted)
        session = wanted.session or {}
        session.setdefault("type", "realtime")
        value, expires_at = self._make(inquiry, session, wanted.seconds(SECONDS), within="session", legacy=False)
        shown = {"id": f"sess_{uuid7().hex}", "object": f"realtime.{_sort(session)}session", "expires_at": 0, **session}
        return Told({"value": value, "expires_at": expires_at, "session": shown})

    async def create_session(self, inquiry: Inquiry) -> Told:
        """The older form: the session itself, with `client_secret`."""
        return self._create_legacy(inquiry, _read(await inquiry.body(), dict[str, Any]), "realtime.session")

    async def create_transcription_session(self, inquiry: Inquiry) -> Told:
        """The older form for what only writes down what it hears."""
        session = _read(await inquiry.body(), dict[str, Any])
        return self._create_legacy(inquiry, {**session, "type": "transcription"}, "realtime.transcription_session")

    async def no_calls(self, inquiry: Inquiry, rest: str = "") -> Told:
        raise NotFound(
            "sessions over WebRTC or SIP and translations are not relayed here; connect with a WebSocket to /v1/realtime"
        )

    def _create_legacy(self, inquiry: Inquiry, session: dict[str, Any], sort: str) -> Told:
        wanted: Wanted = _convert(session.pop("client_secret", None) or {}, Wanted, within="client_secret")
        value, expires_at = self._make(inquiry, session, wanted.seconds(LEGACY_SECONDS), within="", legacy=True)
        secret = {"value": value, "expires_at": expires_at}
        return Told({"id": f"sess_{uuid7().hex}", "object": sort, "expires_at": 0, **session, "client_secret": secret})

    def _make(self, inquiry: Inquiry, session: dict[str, Any], seconds: int, *, within: str, legacy: bool) -> tuple[str, int]:
        """A key and when it ends. within: the member of the body that the settings are in."""
        _convert(session, Begins, within=within)
        settings = msgspec.json.encode(session)
        if len(settings) > LARGEST_SESSION:
            raise InvalidRequest(f"at most {LARGEST_SESSION} bytes, got {len(settings)}", field=within or None)
        key = self._vault.hash(credential(inquiry.exchange).decode("latin-1"))
        expires_at = int(self._clock()) + seconds
        granted = b85encode(msgspec.msgpack.encode(Granted(key, expires_at, zlib.compress(settings), legacy)))
        return PREFIX + self._vault.encrypt(granted.decode()).decode().rstrip("="), expires_at

    async def holder(self, secret: str) -> tuple[Holder, Granted]:
        """Who made this key, with what in it. Raises Unauthenticated."""
        sealed = secret.removeprefix(PREFIX)
        if len(sealed) > LONGEST_KEY:
            raise Unauthenticated("this key was not made here")
        try:
            opened = self._vault.decrypt((sealed + "=" * (-len(sealed) % 4)).encode())
            granted = msgspec.msgpack.decode(b85decode(opened), type=Granted)
            granted.session = zlib.decompress(granted.session)
        except (ConfigError, ValueError, zlib.error):
            raise Unauthenticated("this key was not made here") from None
        now = self._clock()
        if granted.expires_at <= now:
            raise Unauthenticated("this key has expired; make another with POST /v1/realtime/client_secrets")
        caller = await self._database.read(lambda connection: access.authenticate(connection, granted.key, now))
        return self._callers.known(caller), granted


def _sort(session: dict[str, Any]) -> str:
    return "transcription_" if session["type"] == "transcription" else ""


def _read(body: bytes, kind: Any) -> Any:
    """A body as this type; nothing at all is an empty object. Raises InvalidRequest."""
    try:
        return msgspec.json.decode(body.strip() or b"{}", type=kind)
    except msgspec.ValidationError as error:
        raise _wrong(error, "") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"the body is not valid JSON: {error}") from None


def _convert(value: Any, kind: Any, *, within: str) -> Any:
    """A member of a body as this type. Raises InvalidRequest."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise _wrong(error, within) from None


def _wrong(error: msgspec.ValidationError, within: str) -> InvalidRequest:
    what, _, where = str(error).partition(" - at `$")
    field = ".".join(part for part in (within, where.strip("`.")) if part)
    return InvalidRequest(what[:1].lower() + what[1:], field=field or None)
