"""The models that calls and `/v1/videos` can name, with whose they are and what they cost; in either format.

Reading the whole book of prices for every model takes long, so the list is made beside the event loop, and anew only when
prices or channels were changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import product
from typing import Any

import msgspec

from genway.billing import money, prices
from genway.billing.prices import Index, Price
from genway.errors import Forbidden, NoChannel, NotFound
from genway.operations import MediaRef, VideoRequest
from genway.providers.base import Provider
from genway.providers.local import echo
from genway.relay.desk import Inquiry, Routes, Told
from genway.relay.relay import Relay
from genway.relay.seats import KNOWN, LISTED, Seat
from genway.routing import choose
from genway.routing.channels import LOCAL
from genway.routing.choose import Router

SORTS = (
    "chat",
    "messages",
    "responses",
    "completions",
    "embeddings",
    "image_generations",
    "speech",
    "transcriptions",
    "moderations",
    "rerank",
    "realtime",
)
"""Kinds of calls whose prices are shown; where two have a price in the same unit, that of the first."""

BUILT_IN = {
    "local-embedding": "embeddings",
    "local-image": "image_generations",
    "local-moderation": "moderations",
    "local-rerank": "rerank",
    "local-speech": "speech",
    "local-transcription": "transcriptions",
}
"""What the built-in answers are, where they are not chat."""

ANTHROPIC_PAGE = 20
SECONDS = (5, 6, 8, 10, 4)
VIDEO = "video"
PROMPT = "a cat smiles"
FRAME = MediaRef(media_id="any")
GIVEN: Sequence[dict[str, Any]] = ({}, {"first_frame": FRAME}, {"references": (FRAME,)})


class Model(msgspec.Struct, frozen=True):
    """A model that calls can name.

    created: Unix seconds. prices: unit → amount, as they were set or are listed; classes of tokens that only cost what their
    kin costs are left out. A unit with an `@` is for one variant: `second@1080p`.
    """

    id: str
    owner: str
    created: int
    prices: dict[str, str]


class Listing(msgspec.Struct, frozen=True):
    """All models, by name. body: as OpenAI's format lists them."""

    made_of: tuple[object, ...]
    models: dict[str, Model]
    body: bytes


class Catalogue:
    """One a process. local: whether the built-in provider is there."""

    def __init__(self, relay: Relay, router: Router, *, local: bool) -> None:
        self._relay = relay
        self._router = router
        self._local = local
        self._listing = Listing((), {}, b"")
        self._making = asyncio.Lock()
        self.routes = Routes()
        self.routes.on("GET", "/models")(self.list_models)
        self.routes.on("GET", "/models/{name+}")(self.show_model)
        self.routes.on("DELETE", "/models/{name+}")(self.delete_model)

    async def list_models(self, inquiry: Inquiry) -> Told:
        listing = await self.listing()
        if inquiry.wire == "anthropic":
            return Told(_page(inquiry, list(listing.models.values())))
        return Told(listing.body)

    async def show_model(self, inquiry: Inquiry, name: str) -> Told:
        found = (await self.listing()).models.get(name) or self._unlisted(name)
        return Told(_anthropic(found) if inquiry.wire == "anthropic" else _openai(found))

    async def delete_model(self, inquiry: Inquiry, name: str) -> Told:
        raise Forbidden("models cannot be deleted here: they are those of the operator's channels")

    async def listing(self) -> Listing:
        """Every model there is; the same for all keys, since a test key may name any."""
        doing = [seat for seat in await self._router.seats() if seat.channel.disabled_at is None]
        async with self._making:
            made_of = (self._relay.cards.book, *self._relay.board.seats, *doing)
            known = self._listing.made_of
            if len(known) != len(made_of) or any(one is not other for one, other in zip(known, made_of, strict=True)):
                self._listing = await asyncio.to_thread(self._make, made_of, doing)
            return self._listing

    def _make(self, made_of: tuple[object, ...], doing: Sequence[choose.Seat]) -> Listing:
        index, book = self._relay.cards.index, self._relay.cards.book
        found: dict[str, Model] = {}
        for model in (*self._built_in(index), *_relayed(self._relay.board.seats, index, book), *_videos(doing, index)):
            found.setdefault(model.id, model)
        models = dict(sorted(found.items()))
        listed = {"object": "list", "data": [_openai(model) for model in models.values()]}
        return Listing(made_of, models, msgspec.json.encode(listed))

    def _built_in(self, index: Index) -> Iterator[Model]:
        if self._local:
            for name in echo.models():
                kind = BUILT_IN.get(name, "chat")
                yield Model(name, LOCAL, 0, _shown(index, (f"{LOCAL}/{kind}",), (kind,)))
        if self._router.local is not None:
            yield from _videos([self._router.local], index)

    def _unlisted(self, name: str) -> Model:
        """A model that no list has but a channel takes. Raises NotFound."""
        for kind in SORTS:
            try:
                choice = self._relay.board.choices(kind, name)[0]
            except NoChannel:
                continue
            return _model(choice.seat, name, choice.vendor_model, self._relay.cards.index)
        raise NotFound(f"the model {name} does not exist here; GET /v1/models lists those there are")


def _relayed(seats: Iterable[Seat], index: Index, book: Sequence[Price]) -> Iterator[Model]:
    """The models of channels that calls go to: by the channel's own list, else those with a price that it is known for."""
    for seat in sorted(seats, key=lambda seat: -seat.channel.priority):
        for name in seat.channel.models:
            if "*" not in name:
                yield _model(seat, name, seat.vendor_model(name), index)
        prefix = f"{seat.provider.name}/"
        for name in {price.model.removeprefix(prefix) for price in book if _tells(seat, price)}:
            if "@" not in name and seat.rank(name) in {KNOWN, LISTED} and name not in seat.channel.models:
                yield _model(seat, name, seat.vendor_model(name), index)


def _tells(seat: Seat, price: Price) -> bool:
    """Whether a price is a sign that a channel has the model. Who is at an address of its own the shipped list cannot know."""
    if any(sign in price.model for sign in "*?["):
        return False
    return price.model.startswith(f"{seat.provider.name}/") and (bool(price.id) or not seat.open)


def _model(seat: Seat, name: str, vendor_model: str, index: Index) -> Model:
    names = prices.names_of(seat.provider.name, name, vendor_model)
    return Model(name, seat.provider.name, int(seat.channel.created_at), _shown(index, names, SORTS))


def _shown(index: Index, names: Sequence[str], kinds: Sequence[str]) -> dict[str, str]:
    near = index.among(names)
    shown: dict[str, str] = {}
    for kind in kinds:
        for price in prices.chosen(near, names, kind):
            shown.setdefault(price.unit, money.show(price.amount))
    return shown


def _videos(seats: Iterable[choose.Seat], index: Index) -> Iterator[Model]:
    """The models of which a channel for tasks makes videos."""
    for seat in sorted(seats, key=lambda seat: -seat.channel.priority):
        if VideoRequest in seat.provider.operations:
            for name in seat.provider.models:
                if "*" not in name and _makes_videos(seat.provider, name):
                    owner = name.partition("/")[0] if "/" in name else seat.provider.name
                    yield Model(name, owner, int(seat.channel.created_at), _by_second(name, index))


def _makes_videos(provider: Provider, model: str) -> bool:
    wanted = product(SECONDS, GIVEN)
    return any(provider.refusal(VideoRequest(model=model, prompt=PROMPT, seconds=s, **given)) is None for s, given in wanted)


def _by_second(model: str, index: Index) -> dict[str, str]:
    """What a video costs, with each variant that has a price of its own."""
    units = ("second", "call")
    near = [price for price in index.among([model]) if price.unit in units and price.operation in {"*", VIDEO}]
    variants = {price.model.rpartition("@")[2] for price in near if "@" in price.model}
    shown: dict[str, str] = {}
    for variant in ("", *sorted(variants)):
        fitting = [price for price in near if price.fits(VIDEO, model, (variant,))]
        best = max((price.precision[:4] for price in fitting), default=None)
        for price in sorted(fitting, key=lambda price: price.precision):
            if price.precision[:4] == best and (not variant or "@" in price.model):
                shown[f"{price.unit}@{variant}" if variant else price.unit] = money.show(price.amount)
    return shown


def _openai(model: Model) -> dict[str, Any]:
    return {
        "id": model.id,
        "object": "model",
        "created": model.created,
        "owned_by": model.owner,
        "price": model.prices,
    }


def _anthropic(model: Model) -> dict[str, Any]:
    return {
        "type": "model",
        "id": model.id,
        "display_name": model.id,
        "created_at": datetime.fromtimestamp(model.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "lifecycle": "active",
        "price": model.prices,
    }


def _page(inquiry: Inquiry, models: list[Model]) -> dict[str, Any]:
    """A page of Anthropic's list: `limit`, and `after_id` or `before_id`."""
    limit = inquiry.number("limit", ANTHROPIC_PAGE, most=1000)
    names = [model.id for model in models]
    if (after := inquiry.query.get("after_id", "")) in names:
        models = models[names.index(after) + 1 :]
    page, more = models[:limit], len(models) > limit
    if (before := inquiry.query.get("before_id", "")) in names:
        end = names.index(before)
        page, more = models[max(end - limit, 0) : end], end > limit
    return {
        "data": [_anthropic(model) for model in page],
        "has_more": more,
        "first_id": page[0].id if page else None,
        "last_id": page[-1].id if page else None,
    }
