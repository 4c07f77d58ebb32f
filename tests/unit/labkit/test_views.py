"""Answers for people: unknown is never shown as proof."""

from labkit import views


def test_what_a_guest_proves_and_what_could_not_be_read() -> None:
    unknown = dict.fromkeys(("boots", "lastSeq", "lost", "foreign", "pauses"))
    text = views.guest(unknown)
    assert text.count("unknown") == 5 and "none" not in text
    known = {
        "boots": ["2026-01-01T00:00:00.000Z"],
        "lastSeq": 7,
        "lost": [],
        "foreign": [{"seq": 3, "writer": "s/b"}],
        "pauses": [{"from": "2026-01-01T00:00:01.000Z", "to": "", "ms": 1200}],
    }
    assert views.guest(known).splitlines() == [
        "boots     1   2026-01-01T00:00:00.000Z",
        "last seq  7",
        "lost      none",
        "foreign   3 by s/b",
        "pauses    1200 ms from 2026-01-01T00:00:01.000Z",
    ]
