"""Bad days at random, for as long as is wanted."""

import json
import os
from collections.abc import Iterator
from datetime import datetime
from random import SystemRandom

import pytest
import soak
from fleet import condition
from labtool import LabFailed, LabTool, running

pytestmark = [pytest.mark.lab, pytest.mark.soak]


def test_days_of_faults_end_well() -> None:
    """`RESPAWN_SOAK="MINUTES [SEED]"`; ten minutes, and a seed of its own, unless told."""
    minutes, seed, *_ = (*os.environ.get("RESPAWN_SOAK", "10").split(), "")
    chosen = int(seed) if seed else SystemRandom().randrange(10**6)
    with running("soak", "--hosts", "4", "--operators", "2", "--profile", "fast") as lab:
        try:
            days = soak.days(lab, chosen, float(minutes), say)
        except Exception:
            for fact in facts(lab):
                print(fact, flush=True)
            raise
    say(f"{days} days, all of them ended well")


def say(text: str) -> None:
    print(f"{datetime.now():%H:%M:%S} {text}", flush=True)


def facts(lab: LabTool) -> Iterator[str]:
    """What a person would look at first."""
    for words in (("status",), ("domains",), ("kubectl", "get", "vs,vnode,respawnpolicy", "-A")):
        done = lab.run(*words)
        yield done.stdout + done.stderr
    try:
        items = json.loads(lab.kubectl("get", "vs,vnode", "-A", "-o", "json"))["items"]
    except (LabFailed, ValueError) as failed:
        yield str(failed)
        return
    for item in items:
        ready = condition(item.get("status", {}), "Ready")
        if ready.get("status") != "True":
            yield f"{item['metadata']['name']}: {ready.get('reason')}: {ready.get('message')}"
