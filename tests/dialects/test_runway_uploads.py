from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from litestar import Litestar
from litestar.testing import TestClient
from PIL import Image

from dialects.stage import OTHER_KEY
from genway.config import Media
from genway.db import Database
from genway.db.tables import metadata
from genway.media.address import AddressPolicy
from genway.media.fetch import Fetcher
from genway.media.library import Library
from genway.media.links import LinkSigner
from genway.media.store import Store
from genway.operations import MediaRef

Client = TestClient[Litestar]

VERSION = {"X-Runway-Version": "2024-11-06"}


class Clock:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def library(client: Client, sqlite_url: str, tmp_path: Path, clock: Clock) -> Iterator[Library]:
    database = Database(sqlite_url)
    metadata.create_all(database.engine)
    limits, policy = Media(), AddressPolicy(())
    made = Library(
        database,
        Store((tmp_path / "media").as_uri()),
        Fetcher(cast(Any, None), policy, limits),
        LinkSigner(b"a secret of thirty-two bytes ...."),
        limits,
        tmp_path / "scratch",
        clock,
        max_upload_bytes=1_000_000,
    )
    client.app.state.library = made
    yield made
    database.close()


@pytest.fixture(scope="module")
def png() -> bytes:
    """A picture that does not shrink much, so that it comes in several chunks."""
    noise = np.random.default_rng(1).integers(0, 255, (256, 256, 3), dtype=np.uint8)
    into = io.BytesIO()
    Image.fromarray(noise).save(into, "PNG")
    return into.getvalue()


def begin(client: Client) -> Any:
    answer = client.post("/runwayml/v1/uploads", json={"filename": "cat.png", "type": "ephemeral"})
    assert answer.status_code == 200, answer.text
    return answer.json()


def send(client: Client, place: Any, content: bytes, **options: Any) -> Any:
    fields = {**place["fields"], "metadata": "something"}
    return client.post(place["uploadUrl"], data=fields, files={"file": ("cat.png", content)}, headers=NO_KEY, **options)


NO_KEY = {"Authorization": ""}


async def test_an_official_upload_can_be_referred_to(client: Client, library: Library, png: bytes) -> None:
    place = begin(client)
    assert list(place) == ["uploadUrl", "fields", "runwayUri"]
    assert place["uploadUrl"].startswith("http://gen.test/runwayml/v1/uploads/upl_")
    answer = send(client, place, png)
    assert (answer.status_code, answer.content) == (204, b"")
    ref = await library.accept("acc_1", place["runwayUri"], field="promptImage", kinds=("image",))
    stored = await library.owned("acc_1", cast(str, ref.media_id))
    assert (stored.bytes, stored.content_type) == (len(png), "image/png")


def test_an_upload_takes_one_file_only(client: Client, library: Library, png: bytes) -> None:
    place = begin(client)
    send(client, place, png)
    assert send(client, place, png).status_code == 409


def test_an_uploads_address_works_for_nobody_who_was_not_given_it(
    client: Client, library: Library, clock: Clock, png: bytes
) -> None:
    place = begin(client)
    bare, _, query = place["uploadUrl"].partition("?")
    other = begin(client)
    stolen = other["uploadUrl"].partition("?")[0]
    for address, status in ((bare, 403), (f"{bare}?{query[:-1]}", 403), (f"{stolen}?{query}", 403), (f"{bare}x?{query}", 404)):
        assert send(client, {**place, "uploadUrl": address}, png).status_code == status
    clock.now += 24 * 3600 + 1
    assert send(client, place, png).status_code == 404


@pytest.mark.parametrize(
    ("body", "content_type", "said"),
    [
        (b"--b\r\n\r\n", "application/json", "Content-Type: send a form: multipart/form-data with a part named file"),
        (b"", "multipart/form-data", "Content-Type: send a form: multipart/form-data with a part named file"),
        (b"nothing", "multipart/form-data; boundary=b", "not a valid form"),
        (
            b'--b\r\nContent-Disposition: form-data; name="other"\r\n\r\nx\r\n--b--\r\n',
            "multipart/form-data; boundary=b",
            "file: required",
        ),
        (
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\ncut short',
            "multipart/form-data; boundary=b",
            "not a valid form",
        ),
    ],
)
def test_a_broken_form_is_refused_and_leaves_nothing(
    client: Client, library: Library, body: bytes, content_type: str, said: str
) -> None:
    place = begin(client)
    answer = client.post(place["uploadUrl"], content=body, headers={"Content-Type": content_type, **VERSION})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(said)
    assert not [path for path in library.scratch.rglob("*") if path.is_file()]


def test_a_file_that_is_no_picture_or_clip_is_refused(client: Client, library: Library) -> None:
    answer = send(client, begin(client), b"<html>hello</html>")
    assert (answer.status_code, answer.json()["code"]) == (400, "media_refused")


def test_a_file_that_is_too_large_is_refused(client: Client, library: Library, png: bytes) -> None:
    answer = send(client, begin(client), png + b"\0" * 1_000_000)
    assert (answer.status_code, answer.json()["code"]) == (400, "media_refused")


def test_an_upload_needs_a_name_and_a_key(client: Client, library: Library) -> None:
    assert client.post("/runwayml/v1/uploads", json={}).json()["error"]["message"] == "filename: required"
    said = client.post("/runwayml/v1/uploads", json={"filename": "a", "type": "eternal"}).json()["error"]["message"]
    assert said == 'type: ephemeral, got "eternal"'
    assert client.post("/runwayml/v1/uploads", json={"filename": "a"}, headers=NO_KEY).status_code == 401


def announce(client: Client) -> Any:
    body = {"filename": "cat.png", "numberOfParts": 1, "type": "DATASET_PREVIEW"}
    answer = client.post("/runway/uploads", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


PARTS = {"parts": [{"PartNumber": 1, "ETag": "ca3b00c313b6fd9a5c48889ad16f7d5e"}]}


async def test_a_web_upload_ends_in_a_link_that_a_task_may_be_given(client: Client, library: Library, png: bytes) -> None:
    place = announce(client)
    assert place["uploadHeaders"] == {"Content-Type": "image/png"}
    [address] = place["uploadUrls"]
    answer = client.put(address, content=png, headers={**place["uploadHeaders"], **NO_KEY})
    assert answer.status_code == 200
    assert answer.headers["ETag"]
    done = client.post(f"/runway/uploads/{place['id']}/complete", json=PARTS).json()
    assert done["url"].startswith("http://gen.test/media/med_")
    assert ".png?" in done["url"]
    ref = await library.accept("acc_1", done["url"], field="options.init_image", kinds=("image",))
    assert ref == MediaRef(media_id=ref.media_id)


def test_a_web_upload_is_completed_by_its_owner_and_with_its_file_only(client: Client, library: Library, png: bytes) -> None:
    place = announce(client)
    path = f"/runway/uploads/{place['id']}/complete"
    assert client.post(path, json=PARTS).status_code == 409
    client.put(place["uploadUrls"][0], content=png)
    assert client.post(path, json=PARTS, headers={"Authorization": OTHER_KEY}).status_code == 404
    assert client.post("/runway/uploads/upl_nothing/complete", json=PARTS).status_code == 404
    assert client.post(path, json=PARTS).status_code == 200


def test_a_web_upload_in_many_parts_is_refused(client: Client, library: Library) -> None:
    answer = client.post("/runway/uploads", json={"filename": "a.mp4", "numberOfParts": 3})
    assert answer.json()["error"]["message"] == "numberOfParts: 1, got 3"
