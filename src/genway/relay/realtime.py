"""Realtime sessions: who asks, which channel takes it, and the upgrade, which is answered only once a channel has answered.

A session is led like any other streamed call up to there, so a channel that refuses is followed by the next one, and what
goes wrong is an HTTP answer in OpenAI's format. What happens afterwards is in `session.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import structlog
from websockets.frames import Frame
from websockets.http11 import Response

from genway.errors import GenwayError, InvalidRequest, Unauthenticated
from genway.providers.local import echo
from genway.relay import heads, mentions, metrics
from genway.relay.builtin import BuiltinConversation
from genway.relay.callers import Holder, credential
from genway.relay.client_secrets import PREFIX, ClientSecrets, Granted
from genway.relay.dialing import Dialer, Dialled
from genway.relay.keeper import sharing
from genway.relay.kinds import Call, Kind
from genway.relay.ongoing import Ongoing
from genway.relay.relay import Relay, request_id
from genway.relay.session import Session, Settings, Upstream
from genway.routing.channels import LOCAL
from genway.wire.exchange import ClientGone, Exchange
from genway.wire.pool import Pool
from genway.wire.websocket import GOING_AWAY, Closed, Socket, accept, text

log = structlog.get_logger(__name__)

REALTIME = Kind("realtime")
PATHS = frozenset(
    f"{prefix}/realtime{slash}" for prefix in ("/v1", "", "/v1/v1", "/openai/v1", "/openai") for slash in ("", "/")
)
SUBPROTOCOL = "realtime"
KEY_PROTOCOL = "openai-insecure-api-key."
BETA_PROTOCOL = "openai-beta.realtime-v1"
BETA = b"realtime=v1"
TRANSCRIBER = "gpt-4o-transcribe"


class Asking:
    """What a client's upgrade says. key: what it authenticates with; protocols: the subprotocols it offers."""

    def __init__(self, exchange: Exchange) -> None:
        offered = b",".join(value for name, value in exchange.headers if name == b"sec-websocket-protocol").decode("latin-1")
        self.protocols = [each.strip() for each in offered.split(",") if each.strip()]
        self.query = dict(parse_qsl(exchange.query.decode("latin-1"), keep_blank_values=True))
        keys = [
            credential(exchange).decode("latin-1"),
            *(each.removeprefix(KEY_PROTOCOL) for each in self.protocols if each.startswith(KEY_PROTOCOL)),
            self.query.get("api-key", ""),
        ]
        self.keys = [key for key in keys if key]
        self.beta = BETA in exchange.header(b"openai-beta") or BETA_PROTOCOL in self.protocols

    @property
    def key(self) -> str:
        """Raises Unauthenticated."""
        if len(self.keys) > 1:
            raise Unauthenticated("send one key: in the header Authorization or in a subprotocol, not in both")
        if not self.keys:
            raise Unauthenticated(
                f"send your key in the header Authorization: Bearer <key>, or as subprotocol {KEY_PROTOCOL}<key>"
            )
        return self.keys[0]

    @property
    def subprotocol(self) -> str:
        """The one that is agreed on."""
        return SUBPROTOCOL if SUBPROTOCOL in self.protocols else ""

    @property
    def transcribes(self) -> bool:
        return self.query.get("intent") == "transcription"


class Realtime:
    """One a process. clock: Unix seconds. most: bytes of the largest message, either way. wait: sleeps between two tries."""

    def __init__(
        self, relay: Relay, pool: Pool, client_secrets: ClientSecrets, *, most: int, clock: Callable[[], float]
    ) -> None:
        self._relay = relay
        self._pool = pool
        self._client_secrets = client_secrets
        self.wait = asyncio.sleep
        self._most = most
        self._clock = clock

    async def handle(self, exchange: Exchange) -> None:
        """Lead one session to its end, whatever happens."""
        ongoing = Ongoing(exchange, REALTIME, request_id(exchange.header(b"x-request-id")))
        try:
            await self._lead(ongoing)
        except GenwayError as error:
            self._relay.refuse(ongoing, error)
        except ClientGone:
            pass
        except asyncio.CancelledError:
            if not exchange.gone:
                raise
        except Exception:
            log.exception("relay.failed", path=exchange.path, request_id=ongoing.request_id)
            self._relay.refuse(ongoing, GenwayError("something went wrong here; it is recorded under the request id"))
        finally:
            self._relay.conclude(ongoing)

    async def _lead(self, ongoing: Ongoing) -> None:
        exchange, relay = ongoing.exchange, self._relay
        asking = Asking(exchange)
        if exchange.upgrade:
            holder, granted = await self._holder(asking, exchange)
        else:
            holder, granted = await relay.callers.holder(exchange), None
        ongoing.holder = holder
        client, response = accept(
            exchange,
            subprotocol=asking.subprotocol,
            most=self._most,
            keep_alive_seconds=relay.settings.keep_alive_seconds,
        )
        if "call_id" in asking.query:
            raise InvalidRequest(
                "calls over WebRTC or SIP are not relayed here; leave it out and name a model", field="call_id"
            )
        begins = _settings(granted)
        transcribes = asking.transcribes or begins.get("type") == "transcription"
        ongoing.asked = Call(model=_model(asking, begins, transcribes))
        ongoing.streamed = True
        await relay.admit(ongoing)
        legacy = asking.beta or (granted is not None and granted.legacy)
        if relay.is_local(ongoing):
            await self._locally(ongoing, client, response, begins, legacy=legacy, transcribes=transcribes)
            return
        named = mentions.of(REALTIME.name, msgspec.json.encode(begins))
        choices = sharing(relay.board.choices(REALTIME.name, ongoing.model), named)
        kind = "transcriptions" if transcribes else REALTIME.name
        await relay.reserve(ongoing, relay.cards.of(kind, choices[0], ongoing.model))
        dialer = Dialer(
            self._pool, relay.board, relay.settings, asking.query, most=self._most, legacy=legacy, transcribes=transcribes
        )
        dialer.wait = self.wait
        answered = await dialer.send(ongoing, relay.board.order(choices))
        if isinstance(answered, Dialled):
            await self._run(
                ongoing, client, response, answered.socket, answered.said, begins, legacy=legacy, transcribes=transcribes
            )
        else:
            relay.pass_on(ongoing, answered)

    async def _holder(self, asking: Asking, exchange: Exchange) -> tuple[Holder, Granted | None]:
        key = asking.key
        if key.startswith(PREFIX):
            return await self._client_secrets.holder(key)
        return await self._relay.callers.holder(exchange, key.encode("latin-1", "replace")), None

    async def _locally(
        self, ongoing: Ongoing, client: Socket, response: Response, begins: dict[str, Any], *, legacy: bool, transcribes: bool
    ) -> None:
        assert ongoing.holder is not None
        relay = self._relay
        ongoing.channel = ongoing.vendor_model = LOCAL
        ongoing.attempts.append(LOCAL)
        kind = "transcriptions" if transcribes else REALTIME.name
        await relay.reserve(ongoing, relay.cards.local(kind, ongoing.model, ongoing.holder.caller.mode))
        conversation = echo.conversation(ongoing.request_id, created=int(self._clock()), legacy=legacy, transcribes=transcribes)
        upstream = BuiltinConversation(conversation)
        await self._run(ongoing, client, response, upstream, [], begins, legacy=legacy, transcribes=transcribes)

    async def _run(
        self,
        ongoing: Ongoing,
        client: Socket,
        response: Response,
        upstream: Upstream,
        said: list[Frame],
        begins: dict[str, Any],
        *,
        legacy: bool,
        transcribes: bool,
    ) -> None:
        """Answer the upgrade, and see the session to its end."""
        exchange = ongoing.exchange
        try:
            if exchange.gone:
                raise ClientGone
            for line in heads.common(ongoing).decode("latin-1").splitlines():
                name, _, value = line.partition(": ")
                response.headers[name] = value
            transport, early = exchange.hijack()
            exchange.started, exchange.status = True, response.status_code
            client.adopt(transport, response, early)
            if begins.keys() - {"model"}:
                with contextlib.suppress(Closed):  # which the session finds out by itself
                    await upstream.send(text(_update(begins, legacy=legacy)))
            metrics.SESSIONS.inc()
            try:
                await Session(self._relay, ongoing, client, upstream, said, transcribes=transcribes).run()
            finally:
                metrics.SESSIONS.dec()
        finally:
            upstream.close(GOING_AWAY)


def _settings(granted: Granted | None) -> dict[str, Any]:
    """What a session made with one of our short-lived keys begins with."""
    if granted is None:
        return {}
    settings: dict[str, Any] = msgspec.json.decode(granted.session)
    return settings


def _update(begins: dict[str, Any], *, legacy: bool) -> bytes:
    """The event that gives a session the settings it was to begin with. Its model is chosen already and cannot be changed."""
    settings = {name: value for name, value in begins.items() if name != "model"}
    if not legacy:
        return msgspec.json.encode({"type": "session.update", "session": settings})
    transcribes = settings.pop("type", "") == "transcription"
    name = "transcription_session.update" if transcribes else "session.update"
    return msgspec.json.encode({"type": name, "session": settings})


def _model(asking: Asking, begins: dict[str, Any], transcribes: bool) -> str:
    """The model that is asked for. Raises InvalidRequest where none is named and none is implied."""
    named = asking.query.get("model") or asking.query.get("deployment")
    if transcribes:
        return named or msgspec.convert(begins, Settings, strict=False).transcriber or TRANSCRIBER
    found = named or begins.get("model")
    if not isinstance(found, str) or not found:
        raise InvalidRequest("required: the name of a model, as in /v1/realtime?model=gpt-realtime", field="model")
    return found
