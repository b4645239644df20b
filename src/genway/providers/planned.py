"""A provider that plans its whole request before anything is sent: what it cannot do is known before it is charged."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from genway.operations import AnyOperation
from genway.providers.base import Submission, VendorRefused
from genway.providers.http import HttpProvider


class Unfit(Exception):
    """The vendor or the model cannot do what is asked; the message says why."""


class PlannedProvider(HttpProvider):
    """Its `refusal` is whatever hinders the plan."""

    @abstractmethod
    def plan(self, operation: AnyOperation, model: str) -> tuple[Any, dict[str, Any]]:
        """The route and everything of the body but the files. model: the vendor's name of it. Raises Unfit."""

    def refusal(self, operation: AnyOperation) -> str | None:
        reason = super().refusal(operation)
        if reason is None:
            try:
                self.plan(operation, self.models[operation.model])
            except Unfit as unfit:
                return str(unfit)
        return reason

    def planned(self, submission: Submission) -> tuple[Any, dict[str, Any]]:
        """The plan of a submission. Raises VendorRefused."""
        try:
            return self.plan(submission.operation, submission.model)
        except Unfit as unfit:
            raise VendorRefused(str(unfit)) from None
