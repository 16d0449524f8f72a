# SPDX-License-Identifier: Apache-2.0
"""Big transfers arrive with the right digest: both paths, both directions, both families."""

import contextlib
import functools
import os

import pytest
from conftest import SLACK, wait_for
from test_isolation import name_of
from test_secrets import descendants

import data

SIZE = int(os.environ.get("WEIR_E2E_BYTES", str(1 << 30)))
MODES = pytest.mark.parametrize("intercept", [False, True], ids=["opaque", "intercepted"])
FAMILIES = pytest.mark.parametrize("family", [4, 6])


@functools.lru_cache
def digest(size):
    return data.sha256(size)


@pytest.mark.slow
@MODES
@FAMILIES
def test_download(weir, lab, intercept, family):
    trust = "" if intercept else "--cacert " + lab.ca
    r = weir.sh("curl -sS -%d %s https://files%d.example.com/bytes/%d | sha256sum" % (
        family, trust, family, SIZE), intercept=intercept, timeout=240)
    assert r.rc == 0 and r.out.split()[0] == digest(SIZE), r
    # Exact counts: what the client got is what the record says, plus TLS when it is opaque.
    ends = r.find("flow_end")
    assert sum(e["bytes_down"] for e in ends) >= SIZE, r


@pytest.mark.slow
@MODES
@FAMILIES
def test_upload(weir, lab, intercept, family):
    env = {} if intercept else {"GUEST_CA": lab.ca}
    r = weir.guest("upload", "https://files%d.example.com/up" % family, SIZE,
                   intercept=intercept, env=env, timeout=240)
    assert r.json == {"size": SIZE, "sha256": digest(SIZE)}, r


@pytest.mark.parametrize("how", ["length", "chunked"])
@pytest.mark.parametrize("url", ["http://files.example.com/up", "https://files.example.com/up"])
def test_uploads_of_both_framings(weir, how, url):
    n = 20000003
    r = weir.guest("upload", url, n, how, intercept=True)
    assert r.json == {"size": n, "sha256": digest(n)}, r


def test_chunked_download(weir, lab):
    r = weir.sh("curl -sS 'https://files.example.com/bytes/20000003?chunked=1' | sha256sum",
                intercept=True)
    assert r.out.split()[0] == digest(20000003), r


@pytest.mark.machine
def test_plain_tcp_counts_are_exact(weir):
    n = 5000011
    r = weir.guest("half", "echo.example.com", 1007, n)
    assert r.json["got"] == "%d %s\n" % (n, digest(n)), r
    flow = r.find("flow", port=1007)[0]
    end = [e for e in r.find("flow_end") if e["id"] == flow["id"]][0]
    assert end["bytes_up"] == n and end["bytes_down"] == len(r.json["got"]), r


def test_busy_ones_give_way(weir, lab):
    """Who carries much does not interrupt the others (base/busy.c); who does not carry is left as it was."""
    carriers = ("weir-gateway", "weir-tlsproxy")
    p = weir.start("curl", "-sS", "-o", "/dev/null", "--max-time", str(60 * SLACK), "--cacert", lab.ca,
                   "https://files.example.com/bytes/%d" % (1 << 40), intercept=True)

    def policies(of):
        """Of those that carry, or of all others."""
        found = set()
        for pid in descendants(p.pid):
            if (name_of(pid) in carriers) == of:
                with contextlib.suppress(ProcessLookupError):
                    found.add(os.sched_getscheduler(pid))
        return found

    try:
        assert wait_for(lambda: policies(True) == {os.SCHED_BATCH}, 30)
        assert policies(False) == {os.SCHED_OTHER}
    finally:
        p.terminate()
        p.communicate(timeout=30 * SLACK)
