"""Sizes and durations: every accepted form, every refused one, and back again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from respawn.model.units import format_duration, format_quantity, parse_duration, parse_quantity


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("512", 512),
        ("1k", 1000),
        ("1Ki", 1024),
        ("128Mi", 128 * 1024**2),
        ("20Gi", 20 * 1024**3),
        ("1.5Gi", 3 * 512 * 1024**2),
        ("10G", 10**10),
        ("1Ei", 1024**6),
        ("0.1Ki", 103),  # 102.4 bytes: whoever asks for them gets them
    ],
)
def test_a_size_is_read_in_bytes(text: str, expected: int) -> None:
    assert parse_quantity(text) == expected


@pytest.mark.parametrize(
    "text", ["", "Gi", "1GB", "1gi", "-1Gi", "1 Gi", "1e3", "100m", "1.Gi", ".5Gi", "1Gi\n"]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a size"):
        parse_quantity(text)


@given(st.integers(min_value=0, max_value=2**63))
def test_a_size_survives_being_written(size: int) -> None:
    assert parse_quantity(format_quantity(size)) == size


def test_a_size_is_written_in_its_largest_exact_unit() -> None:
    assert [format_quantity(n) for n in (0, 1000, 1024, 3 * 512 * 1024**2, 1024**4)] == [
        "0",
        "1000",
        "1Ki",
        "1536Mi",
        "1Ti",
    ]
    with pytest.raises(ValueError, match="negative"):
        format_quantity(-1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("500ms", 0.5), ("8s", 8.0), ("5m", 300.0), ("1h30m", 5400.0), ("2500ms", 2.5), ("0s", 0.0)],
)
def test_a_duration_is_read_in_seconds(text: str, expected: float) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize("text", ["", "5", "5 s", "1.5s", "-5s", "5d", "5S", "s", "5s\n"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(text)


@given(st.integers(min_value=0, max_value=10**10))
def test_a_duration_survives_being_written(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds / 1000)) == milliseconds / 1000


def test_a_duration_is_written_in_its_largest_exact_unit() -> None:
    assert [format_duration(s) for s in (0, 0.25, 90, 120, 7200)] == [
        "0s",
        "250ms",
        "90s",
        "2m",
        "2h",
    ]
    with pytest.raises(ValueError, match="negative"):
        format_duration(-1)
