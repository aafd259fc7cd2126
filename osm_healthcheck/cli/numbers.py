"""Whole numbers on the command line."""


def whole_number(text: str, least: int, most: int) -> int | None:
    """``text``, decimal digits, as a number from ``least`` to ``most``; ``None`` for anything else.

    However long it is: of more than 4,300 digits ``int`` makes an error of its own.
    """
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(most)):
        return None
    number = int(text)
    return number if least <= number <= most else None
