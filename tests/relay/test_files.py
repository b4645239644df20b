"""Files travel through to the vendor and belong to the account that handed them in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from anthropic import AsyncAnthropic, BadRequestError
from anthropic import NotFoundError as NoMessageFile
from openai import AsyncOpenAI, NotFoundError
from openai.types import Batch

from genway.db.tables import objects
from genway.relay import forward
from relay.kept_stage import ANN, BOB, CLAUDE, MESSAGE, MODEL, TEST, Gateway, batch_lines, gateway


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with gateway(tmp_path, server={"max_upload_bytes": 4_000_000}) as made:
        yield made


def sdk(place: Gateway, key: str = ANN) -> AsyncOpenAI:
    return AsyncOpenAI(api_key=key, base_url=f"{place.url}/v1", max_retries=0)


def claude(place: Gateway, key: str = ANN) -> AsyncAnthropic:
    return AsyncAnthropic(api_key=key, base_url=place.url, max_retries=0)


def form(content: bytes, **fields: str) -> aiohttp.FormData:
    made = aiohttp.FormData(fields)
    made.add_field("file", content, filename="in.jsonl")
    return made


@pytest.mark.parametrize("key", [ANN, TEST])
async def test_a_file_is_kept_listed_fetched_and_deleted(place: Gateway, key: str) -> None:
    content = batch_lines("one", "two")
    async with sdk(place, key) as client:
        made = await client.files.create(file=("in.jsonl", content), purpose="batch")
        other = await client.files.create(file=("note.txt", b"hello"), purpose="user_data")
        assert (made.bytes, made.filename, made.purpose) == (len(content), "in.jsonl", "batch")
        assert (await client.files.retrieve(made.id)) == made
        assert (await client.files.content(made.id)).read() == content
        assert [file.id async for file in client.files.list(order="asc")] in ([made.id, other.id], [other.id, made.id])
        assert [file.id async for file in client.files.list(purpose="batch")] == [made.id]
        assert (await client.files.delete(made.id)).deleted
        with pytest.raises(NotFoundError):
            await client.files.content(made.id)
        assert [file.id async for file in client.files.list()] == [other.id]
    assert bool(place.openai.requests) == (key == ANN)


async def test_nobody_else_sees_a_file(place: Gateway) -> None:
    async with sdk(place) as ann, sdk(place, BOB) as bob, sdk(place, TEST) as test, claude(place) as other_format:
        made = await ann.files.create(file=("in.jsonl", b"{}"), purpose="user_data")
        for other in (bob, test):
            part = {"type": "input_file", "file_id": made.id}
            for use in (
                other.files.retrieve(made.id),
                other.files.content(made.id),
                other.files.delete(made.id),
                other.responses.create(model=MODEL, input=[{"role": "user", "content": [part]}]),  # type: ignore[list-item,misc]
            ):
                with pytest.raises(NotFoundError):
                    await use
            assert [file async for file in other.files.list()] == []
        with pytest.raises(NoMessageFile):
            await other_format.beta.files.retrieve_metadata(made.id)


async def test_a_call_that_names_a_file_goes_where_the_file_is(place: Gateway) -> None:
    made = await place.ask("POST", "/v1/files", form(b"hello", purpose="user_data"), x_genway_channel="second")
    assert made.headers["x-genway-channel"] == "second"
    content = [{"type": "file", "file": {"file_id": made.json["id"]}}, {"type": "text", "text": "one"}]
    call = await place.ask("POST", "/v1/chat/completions", {"model": MODEL, "messages": [{"role": "user", "content": content}]})
    assert call.headers["x-genway-channel"] == "second"


async def test_things_at_two_places_cannot_be_named_together(place: Gateway) -> None:
    names = []
    for channel in ("first", "second"):
        made = await place.ask("POST", "/v1/files", form(b"hello", purpose="user_data"), x_genway_channel=channel)
        names.append({"type": "input_file", "file_id": made.json["id"]})
    refused = await place.ask("POST", "/v1/responses", {"model": MODEL, "input": [{"role": "user", "content": names}]})
    assert (refused.status, refused.json["error"]["param"]) == (404, "input[0].content[1].file_id")


async def test_a_channel_that_is_not_there_is_refused(place: Gateway) -> None:
    refused = await place.ask("POST", "/v1/files", form(b"hello", purpose="user_data"), x_genway_channel="claude")
    assert (refused.status, refused.json["error"]["param"]) == (400, "X-Genway-Channel")


async def test_the_vendors_own_words_come_back(place: Gateway) -> None:
    refused = await place.ask("POST", "/v1/files", form(b"hello", purpose="nonsense"))
    assert refused.status == 400
    assert "nonsense" in refused.json["error"]["message"]
    place.openai.next(path="/v1/files", status=401)
    assert (await place.ask("POST", "/v1/files", form(b"hello", purpose="batch"))).status == 503


@pytest.mark.parametrize("key", [ANN, TEST])
async def test_a_file_that_is_too_large_is_refused(place: Gateway, key: str) -> None:
    announced = await place.ask("POST", "/v1/files", form(b"x" * 5_000_000, purpose="batch"), key=key)
    assert announced.status == 413

    async def pieces() -> AsyncIterator[bytes]:
        head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
        yield head
        for _ in range(80):
            yield b"x" * 64 * 1024

    headers = {"authorization": f"Bearer {key}", "content-type": "multipart/form-data; boundary=b"}
    async with place.http.post(f"{place.url}/v1/files", data=pieces(), headers=headers) as answer:
        assert answer.status == 413
    assert place.objects() == []


async def test_a_large_file_streams_through_as_it_came(place: Gateway) -> None:
    content = bytes(range(256)) * 12_000
    async with sdk(place) as ann:
        made = await ann.files.create(file=("large.bin", content), purpose="user_data")
        assert (await ann.files.content(made.id)).read() == content
    assert place.openai.requests[0].headers["Transfer-Encoding"] == "chunked"


async def test_a_client_that_stops_reading_holds_the_vendor_back(place: Gateway) -> None:
    """The content comes no faster than it is taken: what is unread lies in the sockets, not here."""
    given: list[int] = []

    class Slow:
        def __init__(self) -> None:
            self.paused = False

        def pause(self, paused: bool) -> None:
            self.paused = paused

        def abort(self) -> None:
            pass

        def flow(self, on_data: object, on_end: object) -> None:
            async def run() -> None:
                for _ in range(40):
                    while self.paused:
                        await asyncio.sleep(0)
                    given.append(1)
                    on_data(b"x" * 100_000)  # type: ignore[operator]
                    await asyncio.sleep(0)
                on_end(None)  # type: ignore[operator]

            self.task = asyncio.create_task(run())

    source = Slow()
    pieces = forward.pieces(source)  # type: ignore[arg-type]
    size = len(await anext(pieces))
    for _ in range(200):
        await asyncio.sleep(0)
    assert len(given) < 20
    size += sum([len(piece) async for piece in pieces])
    assert size == 4_000_000


@pytest.mark.parametrize("key", [ANN, TEST])
async def test_files_in_anthropics_shape(place: Gateway, key: str) -> None:
    async with claude(place, key) as client:
        made = await client.beta.files.upload(file=("page.pdf", b"%PDF-1.4", "application/pdf"))
        assert (made.filename, made.mime_type, made.size_bytes, made.type) == ("page.pdf", "application/pdf", 8, "file")
        assert (await client.beta.files.retrieve_metadata(made.id)).id == made.id
        assert [file.id async for file in client.beta.files.list()] == [made.id]
        with pytest.raises(BadRequestError, match="not downloadable"):
            await client.beta.files.download(made.id)
        await client.beta.files.delete(made.id)
        with pytest.raises(NoMessageFile):
            await client.beta.files.retrieve_metadata(made.id)


async def test_a_foreign_file_in_a_message_does_not_exist(place: Gateway) -> None:
    async with claude(place) as ann:
        made = await ann.beta.files.upload(file=("page.pdf", b"%PDF-1.4", "application/pdf"))
    content = [{"type": "document", "source": {"type": "file", "file_id": made.id}}]
    body = {"model": CLAUDE, "max_tokens": 9, "messages": [{"role": "user", "content": content}]}
    refused = await place.ask("POST", "/v1/messages", body, key=BOB)
    assert (refused.status, refused.json["error"]["type"]) == (404, "not_found_error")
    assert (await place.ask("POST", "/v1/messages", body | {"messages": MESSAGE}, key=BOB)).status == 200


async def test_pages_go_on_where_the_last_ended(place: Gateway) -> None:
    async with sdk(place, TEST) as client, claude(place, TEST) as other:
        made = []
        for number in range(5):
            place.now += 1
            made.append((await client.files.create(file=(f"{number}.txt", b"x"), purpose="user_data")).id)
            await other.beta.files.upload(file=(f"{number}.txt", b"x", "text/plain"))
        assert [file.id async for file in client.files.list(limit=2)] == made[::-1]
        assert [file.id async for file in client.files.list(limit=2, order="asc")] == made
        page = await other.beta.files.list(limit=2)
        assert [file.filename async for file in page] == ["4.txt", "3.txt", "2.txt", "1.txt", "0.txt"]
        oldest = (await other.beta.files.list(limit=5)).data[4].id
        back = await other.beta.files.list(limit=2, extra_query={"before_id": oldest})
        assert [file.filename for file in back.data] == ["2.txt", "1.txt"]
        named = await other.beta.files.list(ids=[oldest, "file_of_nobody"])
        assert [file.filename for file in named.data] == ["0.txt"]


@pytest.mark.parametrize(
    "body", [b"", b"--b\r\nnonsense", b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--b--\r\n']
)
async def test_a_broken_form_is_refused_here_for_a_test_key(place: Gateway, body: bytes) -> None:
    refused = await place.ask("POST", "/v1/files", body, key=TEST, content_type="multipart/form-data; boundary=b")
    assert refused.status == 400
    assert list((place.config.data_dir / "work").glob("tmp*")) == []


async def test_a_thing_whose_channel_is_gone_says_so(place: Gateway) -> None:
    made = await place.ask("POST", "/v1/files", form(b"hello", purpose="user_data"))
    place.database.write_now(lambda connection: connection.execute(objects.update().values(credential="none")).rowcount)
    assert (await place.ask("GET", f"/v1/files/{made.json['id']}")).status == 503


@pytest.mark.parametrize("answer", [b"nonsense", b"{}"])
async def test_a_file_without_an_id_is_no_file(place: Gateway, answer: bytes) -> None:
    place.openai.next(path="/v1/files", raw=answer, content_type="application/json")
    refused = await place.ask("POST", "/v1/files", form(b"hello", purpose="user_data"))
    assert (refused.status, refused.json["error"]["code"]) == (502, "upstream_failed")
    assert place.objects() == []


async def test_a_form_with_two_files_is_refused_here_for_a_test_key(place: Gateway) -> None:
    two = form(b"one", purpose="user_data")
    two.add_field("file", b"two", filename="b.txt")
    refused = await place.ask("POST", "/v1/files", two, key=TEST)
    assert (refused.status, refused.json["error"]["param"]) == (400, "file")


async def batched(place: Gateway) -> Batch:
    """A batch that has been seen to end, and is not charged yet."""
    async with sdk(place) as ann:
        file = await ann.files.create(file=("in.jsonl", batch_lines("one")), purpose="batch")
        made = await ann.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
        return await ann.batches.retrieve(made.id)


async def test_who_deletes_the_results_of_a_batch_pays_for_them_all_the_same(place: Gateway) -> None:
    output = str((await batched(place)).output_file_id)
    async with sdk(place) as ann:
        assert (await ann.files.delete(output)).deleted
    [call] = place.calls()
    assert not call.estimated
    assert call.output_tokens > 0


async def test_results_that_cannot_be_charged_now_cannot_be_deleted_now(place: Gateway) -> None:
    output = str((await batched(place)).output_file_id)
    place.openai.next(path=f"/v1/files/{output}/content", status=500)
    assert (await place.ask("DELETE", f"/v1/files/{output}")).status == 502
    assert output in place.openai.files.files
    assert (await place.ask("DELETE", f"/v1/files/{output}")).status == 200
    assert len(place.calls()) == 1


async def test_deleted_results_do_not_come_back_when_their_batch_is_looked_at(place: Gateway) -> None:
    done = await batched(place)
    async with sdk(place) as ann:
        await ann.files.delete(str(done.output_file_id))
        await ann.batches.retrieve(done.id)
        assert [file.id async for file in ann.files.list()] == [done.input_file_id]


async def test_a_file_that_its_vendor_lost_does_not_hide_the_others(place: Gateway) -> None:
    done = await batched(place)
    del place.openai.files.files[str(done.output_file_id)]
    async with sdk(place) as ann:
        listed = {file.id: file.status async for file in ann.files.list()}
    assert listed == {done.input_file_id: "processed", done.output_file_id: "error"}


@pytest.mark.parametrize("key", [ANN, TEST])
async def test_a_file_that_does_not_come_is_not_waited_for_without_end(place: Gateway, key: str) -> None:
    place.application.relay.keeper.upload_seconds = 0.05
    begun = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'

    async def stalls() -> AsyncIterator[bytes]:
        yield begun
        await asyncio.sleep(60)

    headers = {"authorization": f"Bearer {key}", "content-type": "multipart/form-data; boundary=b"}
    async with place.http.post(f"{place.url}/v1/files", data=stalls(), headers=headers) as answer:
        assert answer.status == 408
        assert (await answer.json())["error"]["code"] == "body_too_slow"
