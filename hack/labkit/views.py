"""Answers as tables, for people."""

from __future__ import annotations


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


def writers(answer: dict) -> str:
    rows: list[list[object]] = []
    for image in answer["images"]:
        mark = "  !! more than one" if image["active"] > 1 else ""
        rows.append([image["image"], f"{image['active']}{mark}", None, None, None, None, None])
        for q in image["qemus"]:
            rows.append(["", "", q["host"], q["pid"], q["role"], q["state"], q["blocklisted"]])
    if not rows:
        return "no images"
    head = ["IMAGE", "ACTIVE", "HOST", "PID", "ROLE", "STATE", "BLOCKLISTED"]
    return table(head, rows)


def guest(answer: dict) -> str:
    lines = [f"boots     {len(answer['boots'])}   " + "  ".join(answer["boots"][-5:])]
    lines.append(f"last seq  {answer['lastSeq']}")
    lines.append(f"lost      {answer['lost'] or 'none'}")
    lines.append(f"foreign   {answer['foreign'] or 'none'}")
    lines.append(
        "pauses    "
        + (", ".join(f"{p['ms']} ms from {p['from']}" for p in answer["pauses"]) or "none")
    )
    return "\n".join(lines)


def ping(answer: dict) -> str:
    return f"sent {answer['sent']}, lost {answer['lost']}, longest gap {answer['longestGapMs']} ms"
