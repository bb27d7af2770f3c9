"""Numbers as a person reads them."""

from __future__ import annotations


def short(value: float) -> str:
    """Return a number with four digits that tell, or whole where it is longer: 3e-05, 2.865, 611,242; never 6.1e+05."""
    return f"{value:,.0f}" if 1e3 <= round(abs(value), 1) < 1e15 else f"{value:.4g}"
