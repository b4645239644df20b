"""MiniMax's official API as upstream: `api.minimax.io`, or `api.minimaxi.com` as base_url for keys of the mainland.

What a model takes is data in `_minimax_requests`. A video is asked for in three steps (task, state, link to the file);
pictures, short speech and music come in one call. Everything is answered with HTTP 200 and a code in `base_resp`. What the
API has no field for:

- A camera motion becomes the commands in brackets that the model understands; what there is no command for is said in words.
- A `seed` and a `quality` of a video are left out: they are hints.
- The shape of a video follows its first frame; without one it is 16:9, and another is refused.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec

from genway.operations import (
    AnyOperation,
    DirectCall,
    EffectRequest,
    ImageRequest,
    LyricsRequest,
    MediaRef,
    MusicRequest,
    ReferenceRequest,
    SpeechRequest,
    VideoRequest,
    VoiceRequest,
)
from genway.providers import _minimax_requests as requests
from genway.providers import _minimax_v2 as second
from genway.providers.base import (
    Failed,
    Files,
    Finished,
    OutcomeUnknown,
    Poll,
    ProviderError,
    ResultFile,
    Role,
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
from genway.providers.http import Answer, at
from genway.providers.planned import PlannedProvider

SYNCHRONOUS_SECONDS = 300.0

# Fields that decide the price, or how the answer is read, come from the operation alone.
FIXED = (
    *("model", "duration", "resolution", "n", "response_format", "output_format", "stream", "text", "mode"),
    *("voice_id", "file_id", "clone_prompt", "voice_setting.voice_id"),
)
VOICES, DELETE = "minimax/voices", "minimax/delete"
QUERIES = {
    "video": "/v1/query/video_generation",
    "template": "/v1/query/video_template_generation",
    "speech": "/v1/query/t2a_async_query_v2",
}

# Source: platform.minimax.io/docs/api-reference/errorcode; 1028, 1030, 2038 and 2061 from the vendor's own clients.
VERDICTS: Mapping[int, type[ProviderError]] = {
    **dict.fromkeys((1002, 1039, 1041, 2045), VendorBusy),
    **dict.fromkeys((1004, 2038, 2049, 2061), VendorKeyRefused),
    **dict.fromkeys((1008, 1028, 1030, 2056), VendorOutOfCredit),
    **dict.fromkeys((1026, 1027), VendorModerated),
    **dict.fromkeys((1042, 1043, 1044, 2013, 20132, 2037, 2039, 2042, 2048), VendorRefused),
}
WAITING, WORKING, DONE = ("preparing", "queueing"), ("processing",), ("success",)
ENDED = ("fail", "failed", "error", "expired")


class MiniMax(PlannedProvider):
    """MiniMax, official format."""

    name = "minimax"
    base_url = "https://api.minimax.io"
    operations = (
        *(VideoRequest, ReferenceRequest, EffectRequest, ImageRequest),
        *(SpeechRequest, MusicRequest, LyricsRequest, VoiceRequest),
    )
    calls = (VOICES, DELETE)
    models: Mapping[str, str] = {f"minimax/{name}": name for name in requests.NAMES}
    # Requests a minute are stated for new work alone, and are few; queries are kept modest.
    poll = Poll(first=3.0, factor=1.4, longest=20.0, per_second=10)

    def plan(self, operation: AnyOperation, model: str) -> tuple[str, dict[str, Any]]:
        return requests.request(operation, model)

    async def submit(self, submission: Submission) -> Submitted | Finished:
        """The vendor's id carries where to ask for it, `video:1763…`."""
        operation = submission.operation
        path, body = self.planned(submission)
        if path == second.PATH and isinstance(operation, VideoRequest | ReferenceRequest):
            return await self._submit_second(operation, body, submission)
        body |= await requests.pictures(operation, submission.files)
        if isinstance(operation, VoiceRequest):
            body |= {"voice_id": f"{requests.OURS}{submission.reference}"} | await self._recordings(operation, submission.files)
        if operation.format.startswith("minimax.") and operation.format != second.FORMAT:
            body = with_extra(body, operation.extra, keep=FIXED)
        synchronous = path in requests.SYNCHRONOUS
        if submission.callback_url and isinstance(operation, VideoRequest | EffectRequest):
            body["callback_url"] = submission.callback_url
        seconds = SYNCHRONOUS_SECONDS if synchronous else 0
        answer = self.opened(await self.call("POST", self.path(path), body, submitting=True, seconds=seconds), submitting=True)
        if isinstance(operation, VoiceRequest):
            return self._voice(answer, str(body["voice_id"]))
        if isinstance(operation, LyricsRequest):
            return Finished((), {name: str(at(answer, name) or "") for name in ("song_title", "style_tags", "lyrics")})
        if synchronous:
            return self._made(answer)
        return self._begun(_kind(operation, submission.model), at(answer, "task_id"))

    async def _submit_second(
        self, operation: VideoRequest | ReferenceRequest, body: dict[str, Any], submission: Submission
    ) -> Submitted:
        body["content"] = await second.content(operation, submission.files)
        if operation.format == second.FORMAT:
            body = with_extra(body, operation.extra, keep=second.FIXED)
        if submission.callback_url:
            body["callback_url"] = submission.callback_url
        answer = await self.call("POST", self.path(second.PATH), body, submitting=True)
        if at(answer, "base_resp") is not None:
            answer = self.opened(answer, submitting=True)
        return self._begun(second.KIND, at(answer, "task_id"))

    def _begun(self, kind: str, task_id: Any) -> Submitted:
        if not isinstance(task_id, str | int) or not task_id:
            raise self.unclear(f"{self.name} took the request and named no task", submitting=True)
        return Submitted(f"{kind}:{task_id}")

    def from_callback(self, operation: AnyOperation, body: Any) -> Submitted | None:
        kind = _kind(operation, self.models.get(operation.model, ""))
        task_id = at(body, "task", "id") or at(body, "task_id")
        return Submitted(f"{kind}:{task_id}") if isinstance(task_id, str | int) and task_id else None

    async def check(self, vendor_id: str) -> Running | Finished | Failed:
        kind, _, task_id = vendor_id.rpartition(":")
        if kind == second.KIND:
            task = at(await self.call("GET", f"{self.path(second.QUERY)}/{quote(task_id, safe='')}"), "task")
            if (report := second.report(task, self.clean)) is None:
                raise self.unclear(f"{self.name} answered a task that makes no sense: {at(task, 'status')!r}", submitting=False)
            return report
        place = f"{self.path(QUERIES.get(kind, QUERIES['video']))}?task_id={quote(task_id, safe='')}"
        answer = await self.call("GET", place)
        try:
            answer = self.opened(answer, submitting=False)
        except VendorModerated as moderated:
            return Failed("moderation", moderated.message)
        match str(at(answer, "status")).lower():
            case status if status in WAITING + WORKING:
                return Running()
            case status if status in ENDED:
                return self._failed(answer)
            case status if status in DONE:
                role: Role = "audio" if kind == "speech" else "video"
                return Finished((ResultFile(role, url=await self._link(answer)),))
        raise self.unclear(f"{self.name} answered a status that is not known: {at(answer, 'status')!r}", submitting=False)

    async def cancel(self, vendor_id: str) -> None:
        """Work of the second format can be stopped while it waits."""
        kind, _, task_id = vendor_id.rpartition(":")
        if kind != second.KIND:
            raise VendorRefused(f"{self.name} has no call that stops this")
        await self.call("DELETE", f"{self.path(second.PATH)}/{quote(task_id, safe='')}")

    async def answer(self, asked: DirectCall) -> dict[str, Any]:
        if asked.call == DELETE:
            [parent] = asked.uses
            body = {"voice_type": asked.arguments["voice_type"], "voice_id": parent.kept}
            told = self.opened(await self.call("POST", self.path("/v1/delete_voice"), body), submitting=False)
        else:
            told = self.opened(await self.call("POST", self.path("/v1/get_voice"), {"voice_type": "system"}), submitting=False)
        return dict(told) if isinstance(told, Mapping) else {}

    async def test(self) -> str:
        """There is no free call, but a question for a task that cannot exist is answered only to a good key."""
        with suppress(VendorLost, VendorRefused):
            await self.check("video:0")
        return "the key is good; this API does not tell a balance"

    def path(self, path: str) -> str:
        """Where a call of the official API is found."""
        return path

    def opened(self, answer: Any, submitting: bool) -> Any:
        """The answer, if its `base_resp` tells of success or it tells of a task that has ended. Raises ProviderError."""
        code = at(answer, "base_resp", "status_code")
        if code == 0 or (not submitting and str(at(answer, "status")).lower() in ENDED):
            return answer
        if not isinstance(code, int):
            raise self.unclear(f"{self.name} answered without base_resp", submitting)
        raise self.error(Answer(200, answer), submitting)

    def error(self, answer: Answer, submitting: bool) -> ProviderError:
        words = at(answer.body, "base_resp", "status_msg")
        if isinstance(words, str) and words:
            code = str(at(answer.body, "base_resp", "status_code"))
            answer = msgspec.structs.replace(answer, code=code, message=self.clean(words))
        return super().error(answer, submitting)

    def verdict(self, answer: Answer, submitting: bool) -> type[ProviderError]:
        code = at(answer.body, "base_resp", "status_code")
        if code is None and answer.status < 500:
            found = VERDICTS.get(second.code_of(answer.message) or 0)
            lost = answer.status == 404 and not submitting
            return super().verdict(answer, submitting) if found is None or lost else found
        if not isinstance(code, int) or code == 0:
            return super().verdict(answer, submitting)
        found = VERDICTS.get(code, OutcomeUnknown if submitting else VendorDown)
        # The table has no code for an id that is not known; a query has nothing else that could be invalid.
        return VendorLost if found is VendorRefused and not submitting else found

    async def _recordings(self, operation: VoiceRequest, files: Files) -> dict[str, Any]:
        """What a voice is to be like, sent ahead. Nothing is made by that."""
        if operation.sound is None:
            return {}
        fields: dict[str, Any] = {"file_id": await self._uploaded(operation.sound, "voice_clone", files)}
        if operation.example:
            example = await self._uploaded(operation.example, "prompt_audio", files)
            fields["clone_prompt"] = {"prompt_audio": example, "prompt_text": operation.example_text}
        return fields

    async def _uploaded(self, ref: MediaRef, purpose: str, files: Files) -> int:
        path = await files.path(ref)
        form = aiohttp.FormData({"purpose": purpose})
        form.add_field("file", await asyncio.to_thread(path.read_bytes), filename=path.name)
        answer = self.opened(await self.call("POST", self.path("/v1/files/upload"), form=form), submitting=False)
        file_id = at(answer, "file", "file_id")
        if not isinstance(file_id, int | str):
            raise self.unclear(f"{self.name} took a file and named none", submitting=False)
        return int(file_id)

    async def _link(self, answer: Any) -> str:
        """Where the file of a task that has succeeded is; a link works for an hour, so it is asked for anew each time."""
        url = at(answer, "video_url") or at(answer, "file", "download_url")
        if not url and (file_id := at(answer, "file_id")):
            path = f"{self.path('/v1/files/retrieve')}?file_id={quote(str(file_id), safe='')}"
            file = self.opened(await self.call("GET", path), submitting=False)
            url = at(file, "file", "download_url") or at(file, "file", "backup_download_url")
        if not isinstance(url, str) or not url:
            raise self.unclear(f"{self.name} says that it succeeded and gives no file", submitting=False)
        return url

    def _failed(self, answer: Any) -> Failed:
        code = at(answer, "base_resp", "status_code")
        words = next(
            (
                text
                for text in (at(answer, "error_message"), at(answer, "base_resp", "status_msg") if code else None)
                if isinstance(text, str) and text
            ),
            "the vendor gave no reason",
        )
        known = {VendorModerated: "moderation", VendorRefused: "invalid_request"}
        kind = VERDICTS.get(code, VendorDown) if isinstance(code, int) else VendorDown
        return Failed(known.get(kind, "vendor_error"), self.clean(words))

    def _made(self, answer: Any) -> Finished:
        """The results of a call that is answered with them."""
        pictures = at(answer, "data", "image_urls")
        if isinstance(pictures, list):
            if not pictures and at(answer, "metadata", "failed_count"):
                raise VendorModerated(f"{self.name} held back every picture")
            if pictures and all(isinstance(url, str) for url in pictures):
                return Finished(tuple(ResultFile("image", url=url) for url in pictures))
        sound = at(answer, "data", "audio")
        if not isinstance(sound, str) or not sound.startswith(("http://", "https://")):
            raise self.unclear(f"{self.name} says that it succeeded and gives nothing", submitting=True)
        return Finished((ResultFile("audio", url=sound),))

    def _voice(self, answer: Any, name: str) -> Finished:
        """A voice, and the sample of it: a link, or a sound as hex."""
        kept = {"kept": str(at(answer, "voice_id") or name)}
        link, sample = at(answer, "demo_audio"), at(answer, "trial_audio")
        if isinstance(sample, str) and sample:
            with suppress(ValueError):
                link = f"data:audio/mpeg;base64,{b64encode(bytes.fromhex(sample)).decode()}"
        return Finished((ResultFile("audio", url=link),) if isinstance(link, str) and link else (), kept)


def _kind(operation: AnyOperation, model: str) -> str:
    """What the vendor's id of a work begins with, by which it is known where to ask. model: the vendor's name of it."""
    if isinstance(operation, EffectRequest):
        return "template"
    if isinstance(operation, SpeechRequest):
        return "speech"
    return second.KIND if model in second.MODELS else "video"
