"""Answers as tables, for people."""

from __future__ import annotations

from collections.abc import Mapping

MANY = "  !! more than one"


def table(head: list[str], rows: list[list[object]]) -> str:
    """Columns as wide as their widest cell; None shows as '-'."""
    cells = [head, *[["-" if c is None else str(c) for c in row] for row in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    return "\n".join(
        "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def domains(answer: dict) -> str:
    rows = []
    for d in answer["domains"]:
        server = f"{d['namespace']}/{d['name']}" if d["name"] else None
        rows.append([d["host"], d["pid"], server, d["epoch"], d["state"], d["startedAt"], d["uid"]])
    if not rows:
        return "no QEMU runs"
    return table(["HOST", "PID", "SERVER", "EPOCH", "STATE", "STARTED", "UID"], rows)


def writers(answer: dict, servers: Mapping[int, str] | None = None) -> str:
    """`servers`: NAMESPACE/NAME by pid, of those QEMUs of which it is known."""
    known = servers or {}
    rows: list[list[object]] = []
    for image in answer["images"]:
        active = image["active"]
        mark = "unknown" if active is None else f"{active}{MANY if active > 1 else ''}"
        rows.append([image["image"], mark, *[None] * 6])
        for q in image["qemus"]:
            shut_out = {None: "unknown", True: "yes", False: "no"}[q["blocklisted"]]
            server = known.get(q["pid"])
            rows.append(["", "", server, q["host"], q["pid"], q["role"], q["state"], shut_out])
    if not rows:
        return "no images"
    head = ["IMAGE", "ACTIVE", "SERVER", "HOST", "PID", "ROLE", "STATE", "BLOCKLISTED"]
    return table(head, rows)


def guest(answer: dict) -> str:
    """What could not be read is unknown, which is no proof of anything."""
    boots, pauses = answer["boots"], answer["pauses"]
    told = None if pauses is None else [f"{p['ms']} ms from {p['from']}" for p in pauses]
    lines = {
        "boots": "unknown" if boots is None else _boots(boots),
        "last seq": "unknown" if answer["lastSeq"] is None else str(answer["lastSeq"]),
        "lost": listed(answer["lost"]),
        "foreign": listed(answer["foreign"]),
        "pauses": listed(told),
    }
    return "\n".join(f"{what:<10}{text}".rstrip() for what, text in lines.items())


def _boots(boots: list[str]) -> str:
    shown = ["…", *boots[-5:]] if len(boots) > 5 else boots
    return f"{len(boots)}   " + "  ".join(shown)


def listed(items: list | None) -> str:
    """For people: `none` is said only of what was looked at."""
    if items is None:
        return "unknown"
    return ", ".join(map(_said, items)) or "none"


def _said(item: object) -> str:
    return f"{item['seq']} by {item['writer']}" if isinstance(item, dict) else str(item)


def ping(answer: dict) -> str:
    return f"sent {answer['sent']}, lost {answer['lost']}, longest gap {answer['longestGapMs']} ms"
