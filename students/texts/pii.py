"""Mask what names a person before anything is stored: by pattern, so names in prose stay."""

from __future__ import annotations

import re
from collections import Counter

PATTERNS = (
    ("EMAIL", re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]*\w")),
    ("IBAN", re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")),
    ("CARD", re.compile(r"\b\d(?:[ -]?\d){12,18}\b")),
    ("IP", re.compile(r"\b(?:\d{1,3}\.){3}\d{1,3}\b")),
    ("KEY", re.compile(r"\b(?:sk|pk|ghp|xox[bp]|AKIA)[-_A-Za-z0-9]{12,}\b")),
    ("PHONE", re.compile(r"(?<![\w.])\+?\d[\d ()/.-]{7,}\d\b")),
)
"""In this order: a card number would look like a telephone's."""


def mask(text: str, found: Counter[str]) -> str:
    """Return the text with e-mail addresses, accounts, cards, addresses, keys and phones masked."""
    for kind, pattern in PATTERNS:
        text, n = pattern.subn(f"[{kind}]", text)
        found[kind] += n
    return text
