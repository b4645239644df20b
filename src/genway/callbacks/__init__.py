"""Telling clients how their tasks ended: an outbox in the database, and what empties it."""

from genway.callbacks.delivery import Deliverer, Rendered

__all__ = ["Deliverer", "Rendered"]
