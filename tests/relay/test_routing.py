"""Which channel a call goes to, and what of the channel's own it carries there."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest

from genway.errors import NoChannel
from genway.routing.channels import change_channel, remove_channel
from relay.house import CHAT, MESSAGES, House, chat_events, message_answer
from standins.raw_vendor import RawVendor, pieces, whole

pytestmark = pytest.mark.asyncio(loop_scope="session")
BOTH_WAYS = True


@pytest.fixture
def openai(vendor: RawVendor) -> RawVendor:
    return vendor


@pytest.fixture
def anthropic(another: RawVendor) -> RawVendor:
    another.answer = whole(message_answer())
    return another


async def test_the_highest_priority_takes_all(house: House, openai: RawVendor) -> None:
    await house.channel("spare", openai.url, weight=100)
    await house.channel("first", openai.url, priority=5)
    assert {(await house.chat()).channel for _ in range(8)} == {"first"}


async def test_equals_share_the_work_by_weight(house: House, openai: RawVendor) -> None:
    for name, weight in (("light", 1), ("heavy", 3)):
        await house.channel(name, openai.url, weight=weight)
    choices = house.board.choices("chat", "gpt-5")
    first = Counter(house.board.order(choices)[0].seat.channel.name for _ in range(4000))
    # Four standard deviations either side of three quarters.
    assert 2890 < first["heavy"] < 3110
    assert {(await house.chat()).channel for _ in range(40)} == {"light", "heavy"}


async def test_an_alias_is_translated_for_the_vendor_alone(house: House, openai: RawVendor) -> None:
    await house.channel("aliased", openai.url, models={"house-best": "gpt-5-pro-2026"})
    told = await house.post(CHAT, b'{ "messages" : [1.0,  2e3], "model":"house-best","x":"\\u00e9" }')
    assert told.status == 200
    assert openai.requests[0].body == b'{"messages":[1.0,  2e3],"model":"gpt-5-pro-2026","x":"\\u00e9"}'
    assert (await house.chat("gpt-5")).status == 404, "a channel that lists its models has no others"


async def test_a_channel_or_a_provider_can_be_named_before_the_model(
    house: House, openai: RawVendor, anthropic: RawVendor
) -> None:
    await house.channel("east", openai.url)
    await house.channel("west", openai.url)
    await house.channel("other", anthropic.url, "anthropic")
    assert {(await house.chat("west/gpt-5")).channel for _ in range(5)} == {"west"}
    assert b'"model":"gpt-5"' in openai.requests[0].body
    assert {(await house.chat("openai/gpt-5")).channel for _ in range(25)} == {"east", "west"}
    assert (await house.messages("anthropic/claude-x")).channel == "other"


async def test_a_model_whose_own_name_has_a_slash_is_found_too(house: House, openai: RawVendor) -> None:
    await house.channel("hub", openai.url, models={"meta/llama-9": "meta/llama-9", "openai/oss": "openai/oss"})
    assert (await house.chat("meta/llama-9")).channel == "hub"
    assert (await house.chat("openai/oss")).channel == "hub"
    assert b'"model":"openai/oss"' in openai.requests[1].body


async def test_listed_goes_before_known_and_known_before_any(house: House, openai: RawVendor, anthropic: RawVendor) -> None:
    await house.channel("any", anthropic.url, "anthropic", priority=9)
    assert (await house.chat("gpt-5")).channel == "any"
    known = await house.channel("known", openai.url, priority=5)
    assert (await house.chat("gpt-5")).channel == "known"
    await house.channel("listed", openai.url, models={"gpt-5": "gpt-5"})
    assert (await house.chat("gpt-5")).channel == "listed"
    assert (await house.chat("openai/gpt-5")).channel == "listed", "among namesakes as well"
    assert known.rank("gpt-5") == 2


@pytest.mark.parametrize(("path", "own", "foreign"), [(CHAT, "same", "across"), (MESSAGES, "across", "same")])
async def test_a_call_is_translated_only_where_no_channel_of_its_format_has_the_model(
    house: House, openai: RawVendor, anthropic: RawVendor, path: str, own: str, foreign: str
) -> None:
    await house.channel("same", openai.url, models={"both": "both"}, weight=1 if own == "same" else 50)
    await house.channel("across", anthropic.url, "anthropic", models={"both": "both"}, weight=1 if own == "across" else 50)
    body = {"model": "both", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}
    assert {(await house.post(path, body)).channel for _ in range(12)} == {own}
    assert (await house.post(path, body | {"model": f"{foreign}/both"})).channel == foreign


@pytest.mark.never_straight("a refusal takes words")
async def test_a_channel_that_does_not_do_a_kind_of_call_is_passed_over(house: House, anthropic: RawVendor) -> None:
    await house.channel("talker", anthropic.url, "anthropic")
    told = await house.post("/v1/embeddings", {"model": "text-embedding-9", "input": "x"})
    assert (told.status, told.json["error"]["code"]) == (404, "model_not_found")
    with pytest.raises(NoChannel, match="embeddings"):
        house.board.choices("embeddings", "text-embedding-9")


@pytest.mark.parametrize("member", ["prompt_cache_key", "user"])
async def test_what_belongs_together_stays_on_one_channel(house: House, openai: RawVendor, member: str) -> None:
    for name in "abcdef":
        await house.channel(name, openai.url)
    homes = {}
    for number in range(12):
        went = {(await house.chat(**{member: f"conversation {number}"})).channel for _ in range(3)}
        assert len(went) == 1
        homes[number] = went.pop()
    assert len(set(homes.values())) > 2, "different conversations are spread"
    unwell = homes[0]
    choice = next(choice for choice in house.board.choices("chat", "gpt-5") if choice.seat.channel.name == unwell)
    house.board.busy(choice, 30)
    moved = {number: (await house.chat(**{member: f"conversation {number}"})).channel for number in homes}
    assert unwell not in moved.values()
    assert all(moved[number] == home for number, home in homes.items() if home != unwell), "others stay where they are"
    house.now += 31
    assert (await house.chat(**{member: "conversation 0"})).channel == unwell


async def test_headers_tell_the_channel_and_the_attempts(house: House, openai: RawVendor) -> None:
    await house.channel("only", openai.url)
    told = await house.chat()
    assert (told.channel, told.headers["x-genway-attempts"]) == ("only", "1")
    openai.answer = pieces(chat_events("Hi"))
    streamed = await house.chat(stream=True)
    assert (streamed.channel, streamed.headers["x-genway-attempts"]) == ("only", "1")


async def test_a_channels_own_headers_and_query_go_along(house: House, anthropic: RawVendor) -> None:
    options = {"header.X-Team": "blue", "header.Anthropic-Beta": "ours-1", "query.region": "eu west&1"}
    await house.channel("own", anthropic.url, "anthropic", secret="sk-ant-1", options=options)
    body = {"model": "claude-x", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}
    told = await house.post(
        MESSAGES, body, anthropic_beta="theirs-1", anthropic_version="2023-01-01", x_team="red", cookie="a=b", user_agent="SDK"
    )
    assert told.status == 200
    (seen,) = anthropic.requests
    assert seen.target == "/v1/messages?region=eu+west%261"
    assert seen.headers["x-team"] == "blue"
    assert seen.headers["anthropic-beta"] == "ours-1", "what the operator sets is not for clients to change"
    assert seen.headers["anthropic-version"] == "2023-01-01", "what he does not set is"
    assert seen.headers["x-api-key"] == "sk-ant-1"
    assert "authorization" not in seen.headers, "the client's key stays here"
    assert "cookie" not in seen.headers
    assert seen.headers["user-agent"] == "genway"


async def test_azures_form(house: House, openai: RawVendor) -> None:
    await house.channel(
        "azure",
        openai.url,
        "azure-openai",
        secret="az",
        models={"gpt-5": "our deployment"},
        options={"api_version": "2026-01-01"},
    )
    assert (await house.chat("gpt-5")).status == 200
    await house.post("/v1/responses", {"model": "gpt-5", "input": "Hi"})
    chat, responses = openai.requests
    assert chat.target == "/openai/deployments/our%20deployment/chat/completions?api-version=2026-01-01"
    assert responses.target == "/openai/responses?api-version=2026-01-01"
    assert (chat.headers["api-key"], chat.headers.get("authorization")) == ("az", None)
    assert b'"model":"our deployment"' in chat.body


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("", "/openai/deployments/gpt/chat/completions?api-version=2025-04-01-preview"),
        ("/", "/openai/deployments/gpt/chat/completions?api-version=2025-04-01-preview"),
        ("/openai", "/openai/deployments/gpt/chat/completions?api-version=2025-04-01-preview"),
        ("/openai/v1", "/openai/v1/chat/completions"),
        ("/openai/v1/", "/openai/v1/chat/completions"),
    ],
)
async def test_azures_address_is_that_of_the_resource_or_of_either_of_its_apis(
    house: House, openai: RawVendor, path: str, target: str
) -> None:
    seat = await house.channel("azure", openai.url, "azure-openai", models={"gpt-5": "gpt"})
    moved = msgspec.structs.replace(seat.channel, base_url=f"{openai.url}{path}")
    house.write(lambda connection: change_channel(connection, house.vault, moved))
    await house.board.refresh()
    assert (await house.chat("gpt-5")).status == 200
    [chat] = openai.requests
    assert chat.target == target
    assert b'"model":"gpt"' in chat.body


async def test_channels_come_change_and_go_without_a_restart(house: House, openai: RawVendor) -> None:
    first = await house.channel("first", openai.url, models={"a": "a"})
    await house.channel("second", openai.url, models={"b": "b"})
    assert house.board.seat(first.channel.id) is first, "what is known of a channel that stayed is kept"
    house.write(lambda connection: remove_channel(connection, first.channel.id))
    await house.board.refresh()
    assert (await house.chat("a")).status == 404
    assert (await house.chat("b")).channel == "second"
