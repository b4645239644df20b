"""JSON over HTTP to a vendor, with every way it can end named: what a provider of a web API starts from.

The question behind each error here is whether the vendor may have started the work. Before a connection
stands, it certainly has not; after that only its own clear answer tells.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isnan
from typing import Any, ClassVar

import aiohttp
import msgspec

from genway.providers.base import (
    ChannelSettings,
    OutcomeUnknown,
    Provider,
    ProviderError,
    VendorBusy,
    VendorDown,
    VendorKeyRefused,
    VendorLost,
    VendorModerated,
    VendorOutOfCredit,
    VendorRefused,
)

LONGEST_ANSWER = 16 * 1024 * 1024
LONGEST_MESSAGE = 400
LONGEST_RETRY_AFTER = 3600.0
CONNECT_SECONDS = 15.0

CREDIT = re.compile(
    r"insufficient[ _](user[ _])?(quota|balance|credit|fund)|(not|n't)( have)? enough (credit|balance|point|quota)"
    r"|(out of|no remaining) (credit|balance)|余额不足|额度不足|积分不足|点数不足"
    # what the vendors of text say by a code
    r"|\b(credit_balance_exhausted|billing_not_active|billing_hard_limit_reached|exceeded_current_quota_error|arrearage)\b",
    re.IGNORECASE,
)
MODERATION = re.compile(
    r"\bSAFETY\b|\bmoderat(ed|ion)\b(?! (settings|threshold))|(content|usage|safety) polic|prohibited content"
    r"|sensitive (content|word)|flagged|敏感|违规|审核",
    re.IGNORECASE,
)


class Answer(msgspec.Struct, frozen=True):
    """What a vendor answered. body: decoded JSON, or None where it is none. code, message: its words for an error."""

    status: int
    body: Any = None
    code: str = ""
    message: str = ""
    retry_after: float | None = None


class HttpProvider(Provider):
    """A provider whose vendor speaks JSON over HTTP and takes a bearer key.

    sheds: the statuses from 500 on by which this vendor says, by its documentation, that it has *not* started
    anything. Any other such status on a submit leaves the outcome unknown.
    """

    sheds: ClassVar[frozenset[int]] = frozenset()

    def __init__(self, channel: ChannelSettings, http: aiohttp.ClientSession) -> None:
        super().__init__(channel, http)
        self.address = (channel.base_url or self.base_url).rstrip("/")

    def headers(self) -> dict[str, str]:
        """The headers of every call."""
        return {"Authorization": f"Bearer {self.channel.secret}"}

    async def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        form: aiohttp.FormData | None = None,
        submitting: bool = False,
        seconds: float = 0,
    ) -> Any:
        """The decoded JSON of a 2xx answer, or None if that has no body.

        form: what is sent in place of a JSON body. submitting: whether this call starts work, so that a lost or unclear
        answer is OutcomeUnknown. seconds: the least time that the vendor is given, where the answer is the work itself.
        Raises ProviderError. Redirects are not followed: the key belongs to the configured address alone.
        """
        total = max(self.channel.timeout, seconds)
        try:
            async with self.http.request(
                method,
                self.address + path,
                json=body if form is None else None,
                data=form,
                headers=self.headers(),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=total, connect=min(CONNECT_SECONDS, total * 0.9)),
            ) as response:
                answer = await self._read(response, submitting)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientHttpProxyError) as error:
            raise VendorDown(self.clean(f"{self.name} could not be reached: {error}")) from None
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError):
            raise VendorDown(f"{self.name}: the channel's base_url is not an http(s) address") from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self.unclear(f"{self.name} gave no answer: {type(error).__name__}", submitting) from None
        if not 200 <= answer.status < 300:
            raise self.error(answer, submitting)
        return answer.body

    def error(self, answer: Answer, submitting: bool) -> ProviderError:
        """The error that an answer stands for."""
        message = answer.message or answer.code or f"{self.name} answered {answer.status}"
        return self.verdict(answer, submitting)(message, retry_after=answer.retry_after)

    def verdict(self, answer: Answer, submitting: bool) -> type[ProviderError]:
        """What an answer other than 2xx says of the work. Override for a vendor's own codes."""
        words = f"{answer.code} {answer.message}"
        match answer.status:
            case 402:
                return VendorOutOfCredit
            case 401:
                return VendorKeyRefused
            case status if 400 <= status < 500 and CREDIT.search(words):
                return VendorOutOfCredit
            case 429:
                return VendorBusy
            case status if 400 <= status < 500 and MODERATION.search(words):
                return VendorModerated
            case 403:
                return VendorKeyRefused
            case 404:
                # The paths of submits are ours, so it is the channel's address that is wrong, not the request.
                return VendorDown if submitting else VendorLost
            case 301 | 307 | 308 | 405:
                return VendorDown
            case 408:
                return OutcomeUnknown if submitting else VendorDown
            case status if 400 <= status < 500:
                return VendorRefused
            case status if status in self.sheds:
                return VendorDown
            case _:
                return OutcomeUnknown if submitting else VendorDown

    def unclear(self, message: str, submitting: bool) -> ProviderError:
        """The error for an answer that is lost or makes no sense."""
        return OutcomeUnknown(self.clean(message)) if submitting else VendorDown(self.clean(message))

    def clean(self, text: str) -> str:
        """A vendor's words as they may be shown: without the channel's secret, on one line, of a sane length."""
        if self.channel.secret:
            text = text.replace(self.channel.secret, "***")
        text = " ".join(text.split())
        return text if len(text) <= LONGEST_MESSAGE else f"{text[: LONGEST_MESSAGE - 1]}…"

    async def _read(self, response: aiohttp.ClientResponse, submitting: bool) -> Answer:
        refused = not 200 <= response.status < 300
        retry_after = retry_after_seconds(response.headers.get("Retry-After"))
        try:
            content = bytearray()
            async for chunk in response.content.iter_any():
                content += chunk
                if len(content) > LONGEST_ANSWER:
                    raise self.unclear(f"{self.name} answered more than {LONGEST_ANSWER} bytes", submitting)
            body = msgspec.json.decode(content) if content.strip() else None
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            if refused:
                return Answer(response.status, retry_after=retry_after)
            raise self.unclear(f"{self.name} gave an unreadable answer: {type(error).__name__}", submitting) from None
        code, message = error_words(body) if refused else ("", "")
        return Answer(response.status, body, self.clean(code), self.clean(message), retry_after)


def at(body: Any, *path: str | int) -> Any:
    """What is in decoded JSON under a path of names and indexes, or None: `at(answer, "data", "task_id")`."""
    for step in path:
        if isinstance(step, str) and isinstance(body, Mapping):
            body = body.get(step)
        elif isinstance(step, int) and isinstance(body, list) and step < len(body):
            body = body[step]
        else:
            return None
    return body


def error_words(body: Any) -> tuple[str, str]:
    """The code and the message of an error body in one of the shapes in use; empty strings where there is none."""
    inner = at(body, "error")
    messages = (
        *(inner, at(inner, "message"), at(body, "message"), at(body, "msg")),
        *(at(body, "detail"), at(body, "detail", 0, "msg"), at(body, "failure")),
    )
    codes = (at(inner, "code"), at(inner, "type"), at(body, "code"), at(body, "failureCode"))
    message = next((text for text in messages if isinstance(text, str) and text), "")
    code = next((str(value) for value in codes if isinstance(value, str | int) and value), "")
    return code, message


def retry_after_seconds(header: str | None, now: datetime | None = None) -> float | None:
    """The wait that a `Retry-After` header asks for, in seconds (0…3600), given as a number or as a date."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            when = parsedate_to_datetime(header)
        except ValueError:
            return None
        seconds = (when.replace(tzinfo=when.tzinfo or UTC) - (now or datetime.now(UTC))).total_seconds()
    if isnan(seconds):
        return None
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)
