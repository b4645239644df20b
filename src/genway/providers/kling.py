"""Kling's official API as upstream, and any gateway in the same format.

What the models take is data in `_kling_models`, how a body is made is in `_kling_bodies` and `_kling_media`. The channel's
secret is `access:secret` (`access|secret` does as well), from which tokens of half an hour are made; or a single key, of the
newer kind or of another gateway, which is sent as it is. For a gateway `base_url` ends in `/kling`. Options of the channel:

- `auth`: `jwt` or `bearer`, for a secret that looks like the other.

What the API has no field for: a camera motion, where the model or the mode has no camera control, and a style are put into
words after the prompt; a seed, and guidance where it has no effect, are left out, for they are hints.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, ClassVar

import aiohttp

from genway.operations import (
    AnyOperation,
    AvatarRequest,
    DirectCall,
    EffectRequest,
    ElementRequest,
    ExtendRequest,
    FacesRequest,
    ImageRequest,
    LipSyncRequest,
    PerformanceRequest,
    RecogniseRequest,
    RestyleRequest,
    SelectionRequest,
    SoundRequest,
    SpeechRequest,
    TryOnRequest,
    VideoRequest,
    VoiceRequest,
)
from genway.providers import _kling_keeping as keeping
from genway.providers._kling_bodies import FORMAT, plan
from genway.providers._kling_media import Media
from genway.providers._kling_models import AT_ONCE, NAMES, PATHS
from genway.providers.base import (
    ChannelSettings,
    Failed,
    Finished,
    OutcomeUnknown,
    Poll,
    ProviderError,
    ResultFile,
    Running,
    Submission,
    Submitted,
    VendorBusy,
    VendorDown,
    VendorKeyRefused,
    VendorLost,
    VendorModerated,
    VendorOutOfCredit,
    VendorRefused,
)
from genway.providers.extra import with_extra
from genway.providers.http import MODERATION, Answer, at
from genway.providers.planned import PlannedProvider

TOKEN_SECONDS, TOKEN_EARLY, TOKEN_SPARE = 1800, 5, 300
DAY_MILLISECONDS = 24 * 3600 * 1000
# A client's unknown fields do not replace what the price was made from, nor the face that Kling itself has named.
KEPT = ("model_name", "duration", "n", "input.model_name", "input.duration", "face_choose")

VERDICTS: Mapping[str, type[ProviderError]] = {
    **dict.fromkeys(("1000", "1001", "1002", "1003", "1004", "1103", "1304"), VendorKeyRefused),
    **dict.fromkeys(("1100", "1101", "1102"), VendorOutOfCredit),
    **dict.fromkeys(("1200", "1201"), VendorRefused),
    **dict.fromkeys(("1300", "1301"), VendorModerated),
    **dict.fromkeys(("1302", "1303"), VendorBusy),
}
RISK = re.compile(r"risk control|safety|sensitive|inappropriate|policy", re.IGNORECASE)


class Signer:
    """Makes the tokens of an access key, each used until shortly before it ends."""

    def __init__(self, access: str, secret: str, clock: Callable[[], float] = time.time) -> None:
        self._access, self._secret, self._clock = access, secret, clock
        self._token, self._until = "", 0.0

    def token(self) -> str:
        now = self._clock()
        if now >= self._until:
            import jwt  # noqa: PLC0415 - slow to import, and only this channel needs it

            claims = {"iss": self._access, "exp": int(now) + TOKEN_SECONDS, "nbf": int(now) - TOKEN_EARLY}
            self._token = jwt.encode(claims, self._secret, algorithm="HS256")
            self._until = now + TOKEN_SECONDS - TOKEN_SPARE
        return self._token


class Kling(PlannedProvider):
    """A task's vendor id is its route and Kling's own id: `videos/text2video/840000000000000001`."""

    name = "kling"
    base_url = "https://api-singapore.klingai.com"
    operations = (
        VideoRequest,
        ExtendRequest,
        EffectRequest,
        LipSyncRequest,
        AvatarRequest,
        TryOnRequest,
        SoundRequest,
        SpeechRequest,
        RestyleRequest,
        PerformanceRequest,
        ImageRequest,
        VoiceRequest,
        ElementRequest,
        FacesRequest,
        SelectionRequest,
        RecogniseRequest,
    )
    calls = keeping.CALLS
    models: Mapping[str, str] = {f"kling/{name}": name for name in NAMES}
    # The API states that it limits no queries.
    poll: ClassVar[Poll] = Poll(first=5.0, factor=1.3, longest=15.0, per_second=100)

    def __init__(self, channel: ChannelSettings, http: aiohttp.ClientSession) -> None:
        super().__init__(channel, http)
        access, _, secret = channel.secret.replace("|", ":", 1).partition(":")
        wanted = channel.options.get("auth", "jwt" if secret else "bearer")
        self._parts = (access, secret)
        self._signer = Signer(access, secret) if wanted == "jwt" else None
        self._keeping = keeping.Keeping(self._call)

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._signer.token() if self._signer else self.channel.secret}"}

    def clean(self, text: str) -> str:
        for part in (self.channel.secret, *self._parts):
            text = text.replace(part, "***") if part else text
        return super().clean(text)

    async def submit(self, submission: Submission) -> Submitted | Finished:
        operation = submission.operation
        path, body = self.planned(submission)
        media = await Media(submission.files, self._call).fields(operation, path)
        body = with_extra(body, media)
        if operation.format == FORMAT:
            body = with_extra(body, operation.extra, keep=KEPT)
        body = await self._keeping.renamed(body, operation.uses)
        if path in AT_ONCE:
            return keeping.made(path, await self._call("POST", f"/v1/{path}", body, submitting=True))
        body["external_task_id"] = submission.reference
        if submission.callback_url:
            body["callback_url"] = submission.callback_url
        data = await self._call("POST", f"/v1/{path}", body, submitting=True)
        if isinstance(operation, SpeechRequest):
            return self._finished(data)
        task_id = at(data, "task_id")
        if not isinstance(task_id, str) or not task_id:
            raise self.unclear("kling took the request and named no task", submitting=True)
        return Submitted(f"{path}/{task_id}")

    async def check(self, vendor_id: str) -> Running | Finished | Failed:
        data = await self._call("GET", f"/v1/{vendor_id}")
        match at(data, "task_status"):
            case "submitted" | "processing":
                return Running()
            case "succeed" | "succeeded":
                return self._finished(data)
            case "failed":
                words = str(at(data, "task_status_msg") or "kling gave no reason")
                refused = MODERATION.search(words) or RISK.search(words)
                return Failed("moderation" if refused else "vendor_error", self.clean(words))
        raise self.unclear(f"kling answered a status that is not known: {at(data, 'task_status')!r}", submitting=False)

    async def answer(self, asked: DirectCall) -> dict[str, Any]:
        return await self._keeping.answer(asked)

    async def find(self, reference: str) -> Submitted | None:
        """Every attempt carries its reference as `external_task_id`, which each route can be asked for at no cost."""
        for path in PATHS:
            with suppress(VendorLost, VendorRefused):
                task_id = at(await self._call("GET", f"/v1/{path}/{reference}"), "task_id")
                if isinstance(task_id, str) and task_id:
                    return Submitted(f"{path}/{task_id}")
        return None

    async def test(self) -> str:
        now = int(time.time() * 1000)
        data = await self._call("GET", f"/account/costs?start_time={now - 30 * DAY_MILLISECONDS}&end_time={now}")
        packs = at(data, "resource_pack_subscribe_infos") or []
        left = sum(float(at(pack, "remaining_quantity") or 0) for pack in packs if at(pack, "status") == "online")
        return f"the key is good; {left:g} units left"

    def verdict(self, answer: Answer, submitting: bool) -> type[ProviderError]:
        code = str(at(answer.body, "code") or answer.code)
        if code in VERDICTS:
            return VERDICTS[code]
        if code == "1203":
            return VendorRefused if submitting else VendorLost
        if code in {"5000", "5001", "5002"}:
            return OutcomeUnknown if submitting else VendorDown
        return super().verdict(answer, submitting)

    def plan(self, operation: AnyOperation, model: str) -> tuple[str, dict[str, Any]]:
        return plan(operation, model, operation.model)

    async def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None, *, submitting: bool = False) -> Any:
        """What is in the envelope. Raises the error that the envelope tells of, whatever its HTTP status."""
        answer = await self.call(method, path, body, submitting=submitting)
        code = at(answer, "code")
        if code == 0:
            return at(answer, "data")
        if not isinstance(code, int):
            raise self.unclear("kling answered without a code", submitting)
        message = self.clean(str(at(answer, "message") or code))
        raise self.error(Answer(500, code=str(code), message=message), submitting)

    def _finished(self, data: Any) -> Finished:
        result = at(data, "task_result")
        files = [ResultFile("video", url=url) for url in _addresses(result, "videos", "url")]
        files += [ResultFile("image", url=url) for url in _addresses(result, "images", "url")]
        files += [ResultFile("audio", url=url) for url in _addresses(result, "audios", "url", "url_mp3", "url_wav")]
        details, samples = keeping.kept(result)
        files += samples
        if not files and not details:
            raise self.unclear("kling says that it succeeded and gives no result", submitting=False)
        units = at(data, "final_unit_deduction")
        return Finished(tuple(files), details | ({"units": str(units)} if units else {}))


def _addresses(result: Any, kind: str, *names: str) -> list[str]:
    items = at(result, kind)
    found = [at(item, name) for item in items for name in names] if isinstance(items, list) else []
    return [url for url in found if isinstance(url, str) and url]
