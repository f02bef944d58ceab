"""Logits processors that users bring: classes for the whole batch, and functions of single requests."""
