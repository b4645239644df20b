"""What calls cost: the price card of a model, by kind of call and channel."""

from __future__ import annotations

import contextlib

from genway.billing import prices
from genway.billing.prices import Index, Price
from genway.billing.tokens import Card
from genway.errors import NoChannel
from genway.relay.seats import Board, Choice, Seat
from genway.routing.channels import LOCAL

MOST_REMEMBERED = 10_000
FREE = Card()
UNPAID = frozenset({"count_tokens"})  # vendors count for nothing
SOLD_BY = ("openai", "anthropic")  # in this order where both have a model of that name


def set_aside(card: Card, read: int, produced: int, images: int) -> int:
    """What is set aside for a call, in millionths; of an empty account at least something for what has a price."""
    return card.likely(read, produced, images) or int(card != FREE)


class Cards:
    """One a process. book: all prices that count now; index: the same, by name."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self.book: tuple[Price, ...] = ()
        self.index = Index(())
        self._cards: dict[tuple[str, ...], Card] = {}

    def refresh(self, book: tuple[Price, ...]) -> None:
        """The prices as they are now."""
        if book != self.book:
            self.book, self.index, self._cards = book, Index(book), {}

    def of(self, kind: str, choice: Choice | None, model: str) -> Card:
        """What a model costs. Raises NoChannel where nobody said."""
        if kind in UNPAID:
            return FREE
        provider = choice.seat.provider.name if choice is not None else LOCAL
        vendor_model = choice.vendor_model if choice is not None else f"local-{kind}"
        key = (kind, model, provider, vendor_model)
        known = self._cards.get(key)
        if known is None:
            names = prices.names_of(provider, model, vendor_model)
            known = prices.card(self.index.among(names), names, kind)
            if known is None and choice is not None and choice.seat.channel.options.get("unpriced") == "free":
                known = Card()
            if known is None:
                raise NoChannel(
                    f"{model} has no price for {kind}; set one with `genway price set`, or let what has none be free with the "
                    "channel's option unpriced=free",
                    field="model",
                )
            if len(self._cards) > MOST_REMEMBERED:
                self._cards.clear()
            self._cards[key] = known
        return known

    def batch(self, kind: str, seat: Seat, model: str) -> Card | None:
        """What a model costs in a batch of calls of a kind: a price for `batches` where there is one, else the usual one."""
        names = prices.names_of(seat.provider.name, model, seat.vendor_model(model))
        near = self.index.among(names)
        batched = [price for price in near if price.operation in {"batches", "message_batches"}]
        sort = "message_batches" if kind == "messages" else "batches"
        cheap = prices.card(batched, names, sort) if batched else None
        known = cheap or prices.card(batched, names, "batches") or prices.card(near, names, kind)
        return known or (Card() if seat.channel.options.get("unpriced") == "free" else None)

    def known(self, kind: str, seat: Seat, model: str) -> Card | None:
        """What a model of a seat costs for a kind of call; None where nobody said."""
        names = prices.names_of(seat.provider.name, model, seat.vendor_model(model))
        return prices.card(self.index.among(names), names, kind)

    def local(self, kind: str, model: str, mode: str) -> Card:
        """A test key is shown what the model it names costs, in simulated money; where nobody knows, what is local costs."""
        if mode == "test" and kind not in UNPAID and not model.startswith(LOCAL):
            with contextlib.suppress(NoChannel):
                return self.of(kind, self._board.choices(kind, model)[0], model)
            names = (model, *(f"{vendor}/{model}" for vendor in SOLD_BY))  # what it costs where no channel has it yet
            if (listed := prices.card(self.index.among(names), names, kind)) is not None:
                return listed
        return self.of(kind, None, f"{LOCAL}/{kind}")
