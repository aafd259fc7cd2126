"""Kubernetes' ``resource.Quantity``: ``500m``, ``1Gi``, ``2e3``."""

import re
from decimal import ROUND_CEILING, Context, Decimal

_FORM = re.compile(
    r"(?P<number>[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))(?P<suffix>[numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]+)?"
)
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_FINEST = Decimal("1e-9")
_LONGEST = 64  # characters; what is longer is no quantity that anybody has written
_CONTEXT = Context(prec=200)


def quantity(value: object) -> Decimal | None:
    """What a quantity of a manifest comes to; ``None`` where it is none.

    What is finer than a billionth is rounded up, as in ``ParseQuantity``.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if isinstance(value, int) and abs(value) >= 10**_LONGEST:  # too long for str
        return None
    text = str(value)
    match = _FORM.fullmatch(text)
    if match is None or len(text) > _LONGEST:
        return None
    number, suffix = _CONTEXT.create_decimal(match["number"]), match["suffix"] or ""
    if suffix in _BINARY:
        number = _CONTEXT.multiply(number, Decimal(2 ** _BINARY[suffix]))
    else:
        exponent = _DECIMAL[suffix] if suffix in _DECIMAL else int(suffix[1:])
        if abs(exponent) > _LONGEST:
            return None
        number = number.scaleb(exponent, context=_CONTEXT)
    return number.quantize(_FINEST, ROUND_CEILING, context=_CONTEXT)


def written(value: Decimal) -> str:
    """A quantity with the largest suffix that keeps it whole: ``1088Mi``, ``1010m``."""
    for suffix, power in reversed(_BINARY.items()):
        if value and value % 2**power == 0:
            return f"{int(value / 2**power)}{suffix}"
    for suffix in ("", "m", "u"):
        scaled = value.scaleb(-_DECIMAL[suffix], context=_CONTEXT)
        if scaled == scaled.to_integral_value():
            return f"{int(scaled)}{suffix}"
    return f"{int(value.scaleb(9, context=_CONTEXT))}n"
