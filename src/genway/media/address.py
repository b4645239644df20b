"""Which addresses a client may make this server call, and HTTP sessions that call no other.

An address is judged twice: by its text, when it is handed in, and by what its name resolves to, when it is called.
The addresses that were judged are the very ones connected to; there is no second look-up that could answer otherwise.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from genway.errors import AddressRefused

LONGEST_ADDRESS = 8192
LONGEST_HOST = 253
RESOLVER_THREADS = 16

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# Everything that the IANA special-purpose registries keep from the public internet. `ipaddress.is_global` differs
# between Python releases (CVE-2024-4032), so the list is written out and `is_global` is asked as well.
PRIVATE_IPV4 = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",
    )
)
GLOBAL_UNICAST_IPV6 = IPv6Network("2000::/3")
PRIVATE_IPV6 = tuple(IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
NAT64 = IPv6Network("64:ff9b::/96")

PRIVATE_NAMES = ("localhost", "localdomain", "local", "internal", "intranet", "lan", "home.arpa")

_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")


class AddressPolicy:
    """What may be called although it is private, as the operator lists it.

    allow: networks (`10.1.0.0/16`), addresses, host names, and any host with a port (`minio.internal:9000`, `[::1]:80`),
    which then holds for that port alone. Raises ValueError for what is none of these.
    """

    def __init__(self, allow: Sequence[str] = ()) -> None:
        self.allow = tuple(allow)
        self._networks: list[tuple[Network, int | None]] = []
        self._names: set[tuple[str, int | None]] = set()
        for entry in self.allow:
            self._add(entry.strip().lower())

    def allowing(self, *entries: str) -> AddressPolicy:
        """This policy and a few entries more."""
        return AddressPolicy((*self.allow, *entries))

    def allows_name(self, host: str, port: int) -> bool:
        """Whether the operator lists this host by name."""
        host = host.rstrip(".").lower()
        return (host, None) in self._names or (host, port) in self._names

    def refuses(self, address: Address, port: int) -> bool:
        """Whether this address is private and not on the operator's list."""
        plain = (address.ipv4_mapped if isinstance(address, IPv6Address) else None) or address
        for network, only_port in self._networks:
            if only_port in (None, port) and plain.version == network.version and plain in network:
                return False
        return is_private(address)

    def _add(self, entry: str) -> None:
        try:
            self._networks.append((ip_network(entry, strict=False), None))
            return
        except ValueError:
            pass
        host, colon, port_text = entry.rpartition(":")
        port = int(port_text) if colon and port_text.isdecimal() else None
        if port is None:
            host = entry
        try:
            self._networks.append((ip_network(host.strip("[]"), strict=False), port))
        except ValueError:
            host = host.rstrip(".")
            if not _is_name(host):
                raise ValueError(f"media.allow_private: {entry!r} is no network, address, host name or host:port") from None
            self._names.add((host, port))


def is_private(address: Address) -> bool:
    """Whether this is anything but an address of the public internet.

    IPv6 that carries an IPv4 address inside (mapped, 6to4, Teredo) is private as such; the NAT64 prefix, which networks
    without IPv4 really use to reach it, is judged by what it carries.
    """
    if isinstance(address, IPv4Address):
        return any(address in network for network in PRIVATE_IPV4) or not address.is_global
    if address.scope_id is not None:
        return True
    if address in NAT64:
        return is_private(IPv4Address(int(address) & 0xFFFFFFFF))
    return address not in GLOBAL_UNICAST_IPV6 or any(address in network for network in PRIVATE_IPV6) or not address.is_global


def check_text(url: str, policy: AddressPolicy, *, field: str | None = None) -> None:
    """Refuse an address that is private, or not usable, by its very text. Nothing is looked up.

    Raises AddressRefused, naming `field`.
    """
    if len(url) > LONGEST_ADDRESS:
        raise AddressRefused(f"an address of at most {LONGEST_ADDRESS} characters, got {len(url)}", field=field)
    if _CONTROL.search(url):
        raise AddressRefused("the address holds a control character or a backslash", field=field)
    try:
        parsed = URL(url)
        host, port = parsed.raw_host, parsed.port
    except ValueError as error:
        raise AddressRefused(f"not a valid address: {error}", field=field) from None
    if parsed.scheme not in ("http", "https"):
        raise AddressRefused(f"an http or https address, got {parsed.scheme or 'none'!r} as its scheme", field=field)
    if not host or not port:
        raise AddressRefused("the address names no host, or port 0", field=field)
    if parsed.raw_user is not None or parsed.raw_password is not None:
        raise AddressRefused("the address holds a user name or password; leave them out", field=field)
    refusal = _refusal(host.lower().rstrip("."), port, policy)
    if refusal:
        raise AddressRefused(refusal, field=field)


def origin(url: str | URL) -> str:
    """`scheme://host:port`, always with the port. Raises ValueError where there is no host."""
    parsed = URL(url).origin()
    host = f"[{parsed.raw_host}]" if ":" in (parsed.raw_host or "") else parsed.raw_host
    return f"{parsed.scheme}://{host}:{parsed.port}"


def _refusal(host: str, port: int, policy: AddressPolicy) -> str | None:
    """Why this host may not be called, as far as its text tells."""
    if ":" in host or _NUMERIC_LABEL.fullmatch(host.rpartition(".")[2]):
        try:
            address = ip_address(host.replace("%25", "%"))
        except ValueError:
            # What C libraries read as an address all the same: 2130706433, 0177.0.0.1, 0x7f.1, 127.1
            return f"{host} is an address in an unusual notation; write four decimal numbers"
        return f"{host} is a private address" if policy.refuses(address, port) else None
    if policy.allows_name(host, port):
        return None
    if not _is_name(host):
        return f"{host!r} is not a host name"
    if any(host == name or host.endswith(f".{name}") for name in PRIVATE_NAMES):
        return f"{host} is a private name"
    if "." not in host:
        return f"{host} is a name inside a private network; a public one has a dot"
    return None


def _is_name(host: str) -> bool:
    return 0 < len(host) <= LONGEST_HOST and all(_LABEL.fullmatch(label) for label in host.split("."))


class SystemResolver(AbstractResolver):
    """The system's look-up, on threads of its own: slow name servers of strangers must not hold up other work."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="resolve")

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC) -> list[ResolveResult]:
        """Every address of the host. Raises OSError."""
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)
        )
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, protocol, _, address in found
            if kind in (socket.AF_INET, socket.AF_INET6)
        ]

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class GuardedResolver(AbstractResolver):
    """Looks a name up once and hands on its addresses only if every one of them may be called."""

    def __init__(self, policy: AddressPolicy, inner: AbstractResolver | None = None) -> None:
        self._policy = policy
        self._inner = inner or SystemResolver()

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC) -> list[ResolveResult]:
        """The addresses to connect to. Raises AddressRefused; OSError where the name is not known."""
        found = await self._inner.resolve(host, port, family)
        if not self._policy.allows_name(host, port):
            for result in found:
                if self._policy.refuses(ip_address(result["host"]), port):
                    raise AddressRefused(f"{host} leads to the private address {result['host']}")
        return found

    async def close(self) -> None:
        await self._inner.close()


def guarded_session(
    policy: AddressPolicy, *, timeout: aiohttp.ClientTimeout, resolver: AbstractResolver | None = None
) -> aiohttp.ClientSession:
    """A session that calls only what the policy lets it, whoever wrote the address.

    Every request raises AddressRefused before anything is sent where the address is refused. It takes no proxy from the
    environment, keeps no cookies, decodes no compressed body, and raises AddressRefused rather than follow a redirect
    by itself: pass `allow_redirects=False` and look at the answer. resolver: asked in place of the system's.
    """

    async def check(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        check_text(str(request.url), policy)  # aiohttp asks no resolver about a host that is a literal address
        return await send(request)

    async def refuse_redirect(*_: object) -> None:
        raise AddressRefused("the address redirects, and redirects are not followed here")

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(refuse_redirect)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            resolver=GuardedResolver(policy, resolver), use_dns_cache=False, limit=256, limit_per_host=32, keepalive_timeout=15
        ),
        timeout=timeout,
        trust_env=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        middlewares=(check,),
        trace_configs=[trace],
        headers={"User-Agent": "genway", "Accept-Encoding": "identity"},
    )
