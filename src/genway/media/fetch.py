"""Fetching a file from an address that somebody else wrote: guarded, counted, and never for longer than allowed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec
from yarl import URL

from genway.config import Media
from genway.errors import GenwayError
from genway.media.address import AddressPolicy, check_text, guarded_session, origin
from genway.media.incoming import IncomingFile, too_large
from genway.media.probe import KINDS, SNIFF_BYTES, check_head

CHUNK_BYTES = 256 * 1024
CONNECT_SECONDS = 15
STALL_SECONDS = 15.0
STALL_BYTES = 8 * 1024

REDIRECTS = frozenset({301, 302, 303, 307, 308})
WORTH_ANOTHER_TRY = frozenset({408, 425, 429})


class Fetched(msgspec.Struct, frozen=True):
    """A file that came whole. content_type_claimed: what the server said, which is not to be believed."""

    path: Path
    bytes: int
    sha256: str
    content_type_claimed: str
    final_url: str


class FetchFailed(GenwayError):
    """The address did not give a file. Nothing is known to be wrong with the file itself.

    retryable: it may do so later: nobody was there, it took too long, or the server was at fault (5xx).
    """

    code = "media_unreachable"
    status = 400
    type = "invalid_request_error"

    def __init__(self, message: str, *, retryable: bool, field: str | None = None) -> None:
        super().__init__(message, field=field)
        self.retryable = retryable


def fetching_timeout() -> aiohttp.ClientTimeout:
    """The timeouts of a session for a Fetcher, which keeps the time of a whole fetch itself."""
    return aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)


class Fetcher:
    """Fetches files through a session made by `guarded_session` with the same policy.

    stall_seconds: a server that sends fewer than STALL_BYTES in that time is given up.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        policy: AddressPolicy,
        limits: Media,
        *,
        stall_seconds: float = STALL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits = limits
        self.policy = policy
        self._session = session
        self._stall_seconds = stall_seconds
        self._clock = clock

    async def fetch(
        self,
        url: str,
        into: Path,
        *,
        max_bytes: int,
        trusted_origins: frozenset[str] = frozenset(),
        accept: Collection[str] = KINDS,
        deadline_seconds: float | None = None,
    ) -> Fetched:
        """Fetch one file into `into`, which must not exist; on any error nothing is left there.

        max_bytes: refused before reading where the server announces more, else as soon as more has come.
        trusted_origins: `scheme://host:port` that may be private; a redirect from there to elsewhere gains nothing.
        accept: kinds of file taken; anything else is refused by its first bytes. deadline_seconds: for everything
        together, look-ups and redirects included; by default as the settings have it.

        Raises AddressRefused, MediaRefused, FetchFailed, and Unavailable when the disk is full.
        """
        seconds = self.limits.fetch_seconds if deadline_seconds is None else deadline_seconds
        try:
            async with asyncio.timeout(seconds):
                return await self._follow(url, into, max_bytes, trusted_origins, accept)
        except TimeoutError as error:
            raise FetchFailed(f"the address did not give the file within {seconds:g} seconds", retryable=True) from error
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError) as error:
            raise FetchFailed("the address has no valid certificate", retryable=False) from error
        except aiohttp.ClientConnectorDNSError as error:
            raise FetchFailed(f"the host {error.host} is not known", retryable=True) from error
        except aiohttp.InvalidURL as error:
            raise FetchFailed("the address is not valid", retryable=False) from error
        except (aiohttp.ClientError, OSError) as error:
            raise FetchFailed(f"the address could not be read: {_brief(error)}", retryable=True) from error

    async def _follow(
        self, url: str, into: Path, max_bytes: int, trusted_origins: frozenset[str], accept: Collection[str]
    ) -> Fetched:
        current = url
        for _ in range(self.limits.max_redirects + 1):
            async with self._answer(current, trusted_origins, accept) as response:
                if response.status not in REDIRECTS:
                    return await self._take(response, into, max_bytes, accept)
                location = response.headers.get("Location", "")
            if not location:
                raise FetchFailed("the address redirects without saying where to", retryable=False)
            try:
                current = str(URL(current).join(URL(location)))
            except ValueError as error:
                raise FetchFailed("the address redirects to something that is no address", retryable=False) from error
        raise FetchFailed(f"the address redirects more than {self.limits.max_redirects} times", retryable=False)

    @asynccontextmanager
    async def _answer(
        self, url: str, trusted_origins: frozenset[str], accept: Collection[str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One request, without following where it leads."""
        policy, session = self.policy, self._session
        trusted = _origin_of(url) in trusted_origins
        if trusted:
            # A session of its own: its open connections must not serve somebody else's address on the same host.
            policy = policy.allowing(URL(url).origin().authority)
            session = guarded_session(policy, timeout=fetching_timeout())
        try:
            check_text(url, policy)
            headers = {"Accept": ", ".join(f"{kind}/*" for kind in sorted(accept))}
            async with session.get(url, headers=headers, allow_redirects=False) as response:
                try:
                    yield response
                finally:
                    response.close()
        finally:
            if trusted:
                await session.close()

    async def _take(self, response: aiohttp.ClientResponse, into: Path, max_bytes: int, accept: Collection[str]) -> Fetched:
        _check_answer(response, max_bytes)
        async with IncomingFile(into, max_bytes) as file:
            head = b""
            async for chunk in self._chunks(response):
                if len(head) < SNIFF_BYTES:
                    head += chunk[:SNIFF_BYTES]
                    if len(head) >= SNIFF_BYTES:
                        check_head(head, accept)
                await file.write(chunk)
            if len(head) < SNIFF_BYTES:
                check_head(head, accept)
        return Fetched(
            path=into,
            bytes=file.bytes,
            sha256=file.sha256,
            content_type_claimed=response.content_type,
            final_url=str(response.url),
        )

    async def _chunks(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        """The body, as long as it comes at a reasonable pace."""
        since, arrived = self._clock(), 0
        while True:
            try:
                async with asyncio.timeout(self._stall_seconds):
                    chunk = await response.content.read(CHUNK_BYTES)
            except TimeoutError:
                raise self._stalled() from None
            if not chunk:
                return
            arrived += len(chunk)
            if self._clock() - since > self._stall_seconds:
                if arrived < STALL_BYTES:
                    raise self._stalled()
                since, arrived = self._clock(), 0
            yield chunk

    def _stalled(self) -> FetchFailed:
        return FetchFailed(f"the address sent next to nothing for {self._stall_seconds:g} seconds", retryable=True)


def _check_answer(response: aiohttp.ClientResponse, max_bytes: int) -> None:
    status = response.status
    if status not in (200, 203):
        raise FetchFailed(f"the address answered {status}", retryable=status >= 500 or status in WORTH_ANOTHER_TRY)
    if response.content_length is not None and response.content_length > max_bytes:
        raise too_large(max_bytes)
    coding = response.headers.get("Content-Encoding", "").strip().lower()
    if coding not in ("", "identity"):
        # A few bytes can unpack to gigabytes, and files of these kinds gain nothing from it.
        raise FetchFailed(f"the address answered with {coding} compression, which was not asked for", retryable=False)


def _origin_of(url: str) -> str:
    try:
        return origin(url)
    except ValueError:
        return ""


def _brief(error: Exception) -> str:
    if isinstance(error, GenwayError):
        return error.message
    if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientPayloadError):
        return "the connection broke off"
    return getattr(error, "strerror", None) or type(error).__name__
