"""Checks of a model against Transformers, for authors of models and for `weft verify`."""

from __future__ import annotations

from weft.testing.check import Settings, check_model, compare, verify_model
from weft.testing.report import Check, Fault, Report

__all__ = ["Check", "Fault", "Report", "Settings", "check_model", "compare", "verify_model"]
