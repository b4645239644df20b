"""The models a key may use, with who makes them and what they cost; in either format."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from genway.billing import money
from genway.billing.tokens import Card
from genway.errors import NoChannel, NotFound
from genway.providers.local import echo
from genway.relay.desk import Inquiry, Routes, Told
from genway.relay.seats import Seat
from genway.routing.channels import LOCAL

routes = Routes()

SORTS = (
    "chat",
    "messages",
    "responses",
    "embeddings",
    "image_generations",
    "speech",
    "transcriptions",
    "moderations",
    "rerank",
)
ANTHROPIC_PAGE = 20


class Model(msgspec.Struct, frozen=True):
    """A model that calls can name. created: Unix seconds; kinds: the calls it is for, as far as the channel tells."""

    id: str
    owner: str
    created: int
    kinds: tuple[str, ...]
    prices: dict[str, str]


@routes.on("GET", "/models")
async def list_models(inquiry: Inquiry) -> Told:
    models = sorted(_models(inquiry), key=lambda model: model.id)
    if inquiry.wire == "anthropic":
        return Told(_page(inquiry, models))
    return Told({"object": "list", "data": [_openai(model) for model in models]})


@routes.on("GET", "/models/{name+}")
async def show_model(inquiry: Inquiry, name: str) -> Told:
    found = next((model for model in _models(inquiry) if model.id == name), None)
    if found is None:
        found = _unlisted(inquiry, name)
    return Told(_anthropic(found) if inquiry.wire == "anthropic" else _openai(found))


def _models(inquiry: Inquiry) -> Iterator[Model]:
    relay = inquiry.relay
    if inquiry.caller.mode == "test" or not relay.board.seats:
        for name in echo.models():
            yield Model(name, LOCAL, 0, (), {})
        if inquiry.caller.mode == "live":
            return
    seen: set[str] = set()
    for seat in relay.board.seats:
        for name in [*seat.channel.models, *relay.priced_names(seat)]:
            if "*" not in name and name not in seen:
                seen.add(name)
                yield _model(inquiry, seat, name)


def _unlisted(inquiry: Inquiry, name: str) -> Model:
    """A model that no list has but a channel takes. Raises NotFound."""
    for kind in SORTS:
        try:
            choices = inquiry.relay.board.choices(kind, name)
        except NoChannel:
            continue
        return _model(inquiry, choices[0].seat, name)
    raise NotFound(f"the model {name} does not exist here, or this key may not use it")


def _model(inquiry: Inquiry, seat: Seat, name: str) -> Model:
    kinds = tuple(kind for kind in SORTS if seat.path(kind, name) is not None)
    prices: dict[str, str] = {}
    for kind in kinds:
        card = inquiry.relay.known_card(kind, seat, name)
        if card is not None:
            prices |= _shown(card)
            break
    return Model(name, seat.provider.name, int(seat.channel.created_at), kinds, prices)


def _shown(card: Card) -> dict[str, str]:
    """Prices for a million tokens, or for one thing, in the currency."""
    return {name: money.show(amount) for name, amount in msgspec.structs.asdict(card).items() if amount}


def _openai(model: Model) -> dict[str, Any]:
    return {
        "id": model.id,
        "object": "model",
        "created": model.created,
        "owned_by": model.owner,
        "supported_calls": model.kinds,
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
