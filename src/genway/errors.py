"""What can go wrong with a request, in words every dialect can render.

A dialect turns one of these into its own error shape; nothing below a dialect knows that shape. `code` is
stable and documented in `docs/errors.md`; `status` is the true HTTP status.
"""

from __future__ import annotations

from typing import ClassVar


class GenwayError(Exception):
    """The request cannot be carried out, and why.

    `field` names the offending field by its path in the client's own body (`options.seconds`).
    `retry_after` is in seconds, where waiting can help.
    """

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"

    def __init__(self, message: str, *, field: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class InvalidRequest(GenwayError):
    """A field is missing, of the wrong type or out of range."""

    code = "invalid_request"
    status = 400
    type = "invalid_request_error"


class AddressRefused(InvalidRequest):
    """An address that a client handed in is private, or of a kind we do not fetch."""

    code = "address_refused"


class MediaRefused(InvalidRequest):
    """A file is broken, of a kind we do not take, or larger than allowed."""

    code = "media_refused"


class Unauthenticated(GenwayError):
    """No key, or one that is unknown, expired or revoked."""

    code = "invalid_api_key"
    status = 401
    type = "authentication_error"


class InsufficientBalance(GenwayError):
    """The account's balance does not cover the price."""

    code = "insufficient_balance"
    status = 402
    type = "insufficient_quota"


class BudgetExceeded(InsufficientBalance):
    """The key's own budget does not cover the price."""

    code = "budget_exceeded"


class Forbidden(GenwayError):
    """The key is valid but may not do this."""

    code = "forbidden"
    status = 403
    type = "permission_error"


class NotFound(GenwayError):
    """There is no such thing, or it belongs to somebody else."""

    code = "not_found"
    status = 404
    type = "invalid_request_error"


class TaskNotFound(NotFound):
    """There is no such task, or it belongs to somebody else."""

    code = "task_not_exist"


class Conflict(GenwayError):
    """The thing is in a state in which this cannot be done."""

    code = "conflict"
    status = 409
    type = "invalid_request_error"


class BodyTooLarge(GenwayError):
    """The request body is larger than this server takes."""

    code = "body_too_large"
    status = 413
    type = "invalid_request_error"


class BodyTooSlow(InvalidRequest):
    """The request body did not arrive in time."""

    code = "body_too_slow"
    status = 408


class IdempotencyMismatch(GenwayError):
    """The idempotency key was used before with another request."""

    code = "idempotency_mismatch"
    status = 422
    type = "invalid_request_error"


class NoChannel(GenwayError):
    """No configured channel can do this operation with this model."""

    code = "no_channel"
    status = 422
    type = "invalid_request_error"


class RateLimited(GenwayError):
    """Too many requests, or too many tasks at once, for this key."""

    code = "rate_limited"
    status = 429
    type = "rate_limit_error"


class Unavailable(GenwayError):
    """The server cannot take this right now: it is stopping, or its disk or database is not usable."""

    code = "unavailable"
    status = 503
    type = "server_error"
