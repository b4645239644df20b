"""Tables, and the one way to read and write them."""

from genway.db.connection import Database, Write, execute

__all__ = ["Database", "Write", "execute"]
