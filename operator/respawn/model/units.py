"""Sizes and durations as people write them in manifests, and as numbers.

Sizes are Kubernetes quantities of bytes (`512Mi`, `1.5Gi`, `10G`), durations are Go-like
(`500ms`, `8s`, `1h30m`). The API server refuses anything else at apply; these functions raise
ValueError for it, so that an object written past the validation is noticed.
"""

import math
import re
from fractions import Fraction

QUANTITY_PATTERN = r"^[0-9]+([.][0-9]+)?(k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$"
DURATION_PATTERN = r"^([0-9]+(ms|s|m|h))+$"

_BINARY = ("Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_FACTORS: dict[str, int] = {
    "": 1,
    **{suffix: 1000 ** (n + 1) for n, suffix in enumerate(("k", "M", "G", "T", "P", "E"))},
    **{suffix: 1024 ** (n + 1) for n, suffix in enumerate(_BINARY)},
}
_MILLISECONDS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}


def parse_quantity(text: str) -> int:
    """Bytes of a size such as `20Gi`, rounded up to a whole byte."""
    if not re.fullmatch(QUANTITY_PATTERN, text):
        raise ValueError(f"not a size such as 512Mi, 20Gi or 1Ti: {text!r}")
    number = text.rstrip("kKMGTPEi")
    unit = text[len(number) :]
    return math.ceil(Fraction(number) * _FACTORS[unit])


def format_quantity(size: int) -> str:
    """`size` bytes in the largest binary unit that says it exactly."""
    if size < 0:
        raise ValueError(f"a size is never negative: {size}")
    unit = ""
    for suffix in _BINARY:
        if size == 0 or size % _FACTORS[suffix]:
            break
        unit = suffix
    return f"{size // _FACTORS[unit]}{unit}"


def parse_duration(text: str) -> float:
    """Seconds of a duration such as `500ms`, `8s` or `1h30m`."""
    if not re.fullmatch(DURATION_PATTERN, text):
        raise ValueError(f"not a duration such as 500ms, 8s, 5m or 1h30m: {text!r}")
    parts = re.findall(r"([0-9]+)(ms|s|m|h)", text)
    return sum(int(number) * _MILLISECONDS[unit] for number, unit in parts) / 1000


def format_duration(seconds: float) -> str:
    """`seconds`, to the nearest millisecond, in the largest unit that says it exactly."""
    if seconds < 0:
        raise ValueError(f"a duration is never negative: {seconds}")
    milliseconds = round(seconds * 1000)
    for unit in ("h", "m", "s"):
        if milliseconds and milliseconds % _MILLISECONDS[unit] == 0:
            return f"{milliseconds // _MILLISECONDS[unit]}{unit}"
    return f"{milliseconds}ms" if milliseconds else "0s"
