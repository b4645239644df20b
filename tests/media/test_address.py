"""Addresses are judged by their text and by what they resolve to, and no notation gets past."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver
from hypothesis import given, settings
from hypothesis import strategies as st

from genway.errors import AddressRefused
from genway.media.address import (
    PRIVATE_IPV4,
    AddressPolicy,
    GuardedResolver,
    SystemResolver,
    check_text,
    guarded_session,
    is_private,
    origin,
)
from media.conftest import Serve
from media.stage import Names, redirect, whole

NOTHING = AddressPolicy()


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/x.png",
        "http://127.1/",
        "http://2130706433/",
        "http://0177.0.0.1/",
        "http://0x7f.0.0.1/",
        "http://0x7f000001/",
        "http://017700000001/",
        "http://127.0.0.1./",
        "http://0/",
        "http://0.0.0.0/",
        "http://10.0.0.1:8080/",
        "http://169.254.169.254/latest/meta-data/",
        "http://100.100.100.200/",
        "http://192.0.0.192/",
        "http://198.18.0.1/",
        "http://224.0.0.1/",
        "http://255.255.255.255/",
        "http://[::]/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[::ffff:8.8.8.8]/",
        "http://[::127.0.0.1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[64:ff9b:1::1]/",
        "http://[2002:7f00:1::]/",
        "http://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/",
        "http://[fd00:ec2::254]/",
        "http://[fe80::1]/",
        "http://[fe80::1%25eth0]/",
        "http://[2606:4700::1%25lo]/",
        "http://[fec0::1]/",
        "http://[ff02::1]/",
        "http://[2001:db8::1]/",
        "http://localhost/",
        "http://LOCALHOST./",
        "http://a.localhost/",
        "http://metadata.google.internal/",
        "http://printer.local/",
        "http://minio:9000/",
        "http://127。0。0。1/",
        "http://１２７.0.0.1/",
        "http://①②⑦.0.0.1/",
        "http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/",
        "http://127%2e0.0.1/",
        "http://user:secret@example.com/",
        "http://example.com@127.0.0.1/",
        "http://127.0.0.1\\@example.com/",
        "http://example.com\\.evil.test/",
        "http://exam\nple.com/",
        "http://1.1.1.1 &@127.0.0.1# @8.8.8.8/",
        "http://example.com:0/",
        "http://example.com:99999/",
        "http:///x.png",
        "http:example.com",
        "http://",
        "http://a..b.com/",
        "http://[::1/",
        "ftp://example.com/x",
        "file:///etc/passwd",
        "gopher://example.com/",
        "//example.com/x.png",
        "example.com/x.png",
        "",
        "http://example.com/" + "a" * 9000,
        "http://" + "a." * 200 + "com/",
    ],
)
def test_an_address_that_is_private_or_broken_by_its_text_is_refused(url: str) -> None:
    with pytest.raises(AddressRefused) as refusal:
        check_text(url, NOTHING, field="image")
    assert refusal.value.field == "image"
    assert str(refusal.value).startswith("image: ")


@pytest.mark.parametrize(
    "url",
    [
        "http://baidu.com",
        "https://example.com/a.png?x=1&y=%20#part",
        "https://example.com:8443/a b.png",
        "HTTPS://EXAMPLE.COM/A.PNG",
        "http://8.8.8.8/",
        "http://[2606:4700:4700::1111]/",
        "http://[64:ff9b::808:808]/",
        "https://bücher.example/",
        "https://例え.テスト/画像.png",
        "https://my_bucket.s3.amazonaws.com/key",
        "https://does-not-exist.invalid/",
        "https://127.0.0.1.example.com/",
        "https://local.example.com/",
    ],
)
def test_a_public_address_passes(url: str) -> None:
    check_text(url, NOTHING)


def notations(address: IPv4Address) -> list[str]:
    """Ways to write an IPv4 address that some program or other reads as such."""
    number = int(address)
    a, b, c, d = address.packed
    groups = f"{number >> 16:x}:{number & 0xFFFF:x}"
    return [
        f"{a}.{b}.{c}.{d}",
        f"{a}.{b}.{c}.{d}.",
        f"{number}",
        f"0x{number:x}",
        f"0X{number:X}",
        f"0{number:o}",
        f"0{a:o}.0{b:o}.0{c:o}.0{d:o}",
        f"00000{a:o}.{b}.{c}.{d}",
        f"0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}",
        f"{a}.0x{b:x}.0{c:o}.{d}",
        f"{a}.{number & 0xFFFFFF}",
        f"{a}.{b}.{number & 0xFFFF}",
        f"{a}。{b}．{c}｡{d}",
        "".join(chr(ord(digit) + 0xFEE0) for digit in str(a)) + f".{b}.{c}.{d}",
        f"[::ffff:{a}.{b}.{c}.{d}]",
        f"[::ffff:{groups}]",
        f"[::{groups}]",
        f"[64:ff9b::{groups}]",
        f"[2002:{groups}::1]",
        f"[fe80::5efe:{groups}]",
    ]


private_ipv4 = st.one_of(*(st.ip_addresses(v=4, network=network) for network in PRIVATE_IPV4))


@given(private_ipv4.flatmap(lambda address: st.sampled_from(notations(address))))
@settings(max_examples=400, deadline=None)
def test_no_notation_of_a_private_address_passes(host: str) -> None:
    with pytest.raises(AddressRefused):
        check_text(f"http://{host}/", NOTHING)


@given(st.from_regex(r"\A[0-9a-fx.]{1,20}\Z").filter(lambda host: not host.startswith(".")))
@settings(max_examples=400, deadline=None)
def test_what_the_system_reads_as_a_private_address_never_passes(host: str) -> None:
    try:
        read = socket.getaddrinfo(host, 80, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)[0][4][0]
    except (OSError, UnicodeError):
        return
    if is_private(ip_address(read)):
        with pytest.raises(AddressRefused):
            check_text(f"http://{host}/", NOTHING)


@given(st.ip_addresses(v=6))
@settings(max_examples=300, deadline=None)
def test_ipv6_passes_only_as_global_unicast_or_translated_public_ipv4(address: IPv6Address) -> None:
    try:
        check_text(f"http://[{address}]/", NOTHING)
    except AddressRefused:
        return
    assert address.is_global
    assert int(address) >> 125 == 1 or not is_private(IPv4Address(int(address) & 0xFFFFFFFF))


@pytest.mark.parametrize(
    ("allow", "passes", "refused"),
    [
        ("10.1.0.0/16", "http://10.1.2.3/", "http://10.2.0.1/"),
        ("127.0.0.1", "http://127.0.0.1:99/", "http://127.0.0.2/"),
        ("127.0.0.1:9000", "http://127.0.0.1:9000/", "http://127.0.0.1:9001/"),
        ("::1", "http://[::1]/", "http://[::2]/"),
        ("[::1]:80", "http://[::1]/", "http://[::1]:81/"),
        ("127.0.0.0/8", "http://[::ffff:127.0.0.1]/", "http://[::ffff:10.0.0.1]/"),
        ("minio.internal", "http://MINIO.internal:9000/", "http://x.minio.internal/"),
        ("minio:9000", "http://minio:9000/", "http://minio/"),
        ("localhost", "https://localhost/", "http://127.0.0.1/"),
    ],
)
def test_the_operators_list_allows_what_it_names_and_nothing_beside(allow: str, passes: str, refused: str) -> None:
    policy = AddressPolicy([allow])
    check_text(passes, policy)
    with pytest.raises(AddressRefused):
        check_text(refused, policy)


@pytest.mark.parametrize("entry", ["10.1.0.0/99", "", "a b", "http://minio", "x/y"])
def test_an_entry_of_the_operators_list_that_means_nothing_is_an_error(entry: str) -> None:
    with pytest.raises(ValueError, match="allow_private"):
        AddressPolicy([entry])


def test_an_origin_always_has_its_port() -> None:
    assert origin("https://Example.com/a?b") == "https://example.com:443"
    assert origin("http://[::1]:80/a") == "http://[::1]:80"


@pytest.mark.parametrize("answer", [["127.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["::1"], ["::ffff:10.0.0.1"], ["fe80::1%1"]])
async def test_a_name_that_leads_to_a_private_address_is_refused(answer: list[str]) -> None:
    resolver = GuardedResolver(NOTHING, Names(evil__example=[answer]))
    with pytest.raises(AddressRefused, match=r"evil\.example leads to"):
        await resolver.resolve("evil.example", 80)


async def test_a_name_that_the_operator_lists_may_lead_anywhere() -> None:
    resolver = GuardedResolver(AddressPolicy(["minio.internal:9000"]), Names(minio__internal=[["10.0.0.1"]]))
    assert [result["host"] for result in await resolver.resolve("minio.internal", 9000)] == ["10.0.0.1"]
    with pytest.raises(AddressRefused):
        await resolver.resolve("minio.internal", 9001)


async def test_the_systems_own_look_up_is_guarded() -> None:
    resolver = GuardedResolver(NOTHING, SystemResolver())
    with pytest.raises(AddressRefused):
        await resolver.resolve("localhost", 80)
    await resolver.close()


def session(policy: AddressPolicy, names: AbstractResolver | None = None) -> aiohttp.ClientSession:
    return guarded_session(policy, timeout=aiohttp.ClientTimeout(total=10), resolver=names)


async def test_a_session_refuses_a_literal_address_before_it_connects(serve: Serve) -> None:
    server = await serve(whole(b"secret"))
    async with session(NOTHING) as http:
        for host in ("127.0.0.1", "2130706433", "[::ffff:127.0.0.1]"):
            with pytest.raises(AddressRefused):
                await http.get(f"http://{host}:{server.port}/")
    assert server.requests == []


async def test_a_session_refuses_a_redirect_rather_than_follow_it(serve: Serve) -> None:
    inside = await serve(whole(b"secret"))
    server = await serve(redirect(inside.url()))
    async with session(AddressPolicy([server.authority, inside.authority])) as http:
        with pytest.raises(AddressRefused, match="redirects"):
            await http.post(server.url())
        answer = await http.post(server.url(), allow_redirects=False)
        assert answer.status == 302
    assert inside.requests == []


async def test_a_session_takes_no_proxy_from_the_environment(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = await serve(whole(b"proxied"))
    server = await serve(whole(b"direct"), "127.0.0.2")
    monkeypatch.setenv("http_proxy", proxy.url())
    async with session(AddressPolicy(["127.0.0.0/8"])) as http:
        assert await (await http.get(server.url())).read() == b"direct"
    assert proxy.requests == []
