# SPDX-License-Identifier: Apache-2.0
"""Trust inside the sandbox on other distributions: /etc as they have it, made in a mount namespace of the test's.

tests/unit/weir/test_trust.c knows each layout as a folder tree; here the mounts are real.
"""

import os
import subprocess

import pytest

U = "https://h2.example.com/trusted"
ROOTS = "/etc/ssl/certs/ca-certificates.crt"

# What is made in an /etc of the test's own, the files that a program then reads there, and where anchors are.
LAYOUTS = {
    "alpine": ("ln -sf certs/ca-certificates.crt /etc/ssl/cert.pem", ["/etc/ssl/cert.pem", ROOTS], []),
    "rhel": ("p=/etc/pki/ca-trust; mkdir -p $p/extracted/pem/directory-hash $p/source/anchors /etc/pki/tls/certs "
             "$p/extracted/java /etc/pki/java; cp %s $p/extracted/pem/tls-ca-bundle.pem; "
             "ln -s $p/extracted/pem/tls-ca-bundle.pem /etc/pki/tls/certs/ca-bundle.crt; "
             "ln -s $p/extracted/pem/tls-ca-bundle.pem /etc/pki/tls/cert.pem; rm -rf /etc/ssl/certs; "
             "ln -s ../pki/tls/certs /etc/ssl/certs" % ROOTS,
             ["/etc/pki/tls/certs/ca-bundle.crt", "/etc/pki/tls/cert.pem",
              "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/certs/ca-bundle.crt"],
             ["/etc/pki/ca-trust/source/anchors"]),
    "arch": ("c=/etc/ca-certificates; mkdir -p $c/extracted/cadir $c/trust-source/anchors; "
             "cp %s $c/extracted/tls-ca-bundle.pem; rm -rf /etc/ssl/certs; mkdir /etc/ssl/certs; "
             "ln -s ../../ca-certificates/extracted/tls-ca-bundle.pem /etc/ssl/certs/ca-certificates.crt; "
             "ln -s certs/ca-certificates.crt /etc/ssl/cert.pem" % ROOTS,
             [ROOTS, "/etc/ssl/cert.pem", "/etc/ca-certificates/extracted/tls-ca-bundle.pem"],
             ["/etc/ca-certificates/trust-source/anchors"]),
    "suse": ("mkdir -p /etc/pki/trust/anchors /etc/suse/openssl /etc/suse/pem; cp %s /etc/suse/ca-bundle.pem; "
             "rm -rf /etc/ssl/certs; ln -s ../suse/pem /etc/ssl/certs; ln -s ../suse/ca-bundle.pem /etc/ssl/ca-bundle.pem"
             % ROOTS, ["/etc/ssl/ca-bundle.pem", "/etc/suse/ca-bundle.pem"], ["/etc/pki/trust/anchors"]),
}


# Parity: T08.
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.netns("the host's /etc as other distributions have it")
def test_layout(weir, h2, layout):
    make, bundles, anchors = LAYOUTS[layout]
    upper = os.path.join(weir.lab.tmp, "etc-" + layout)
    for d in ("up", "work"):
        os.makedirs(os.path.join(upper, d), exist_ok=True)
    inside = "unset SSL_CERT_FILE CURL_CA_BUNDLE; for f in %s; do curl -sS --cacert $f %s | grep -o '\"path\"'; " \
             "grep -c BEGIN $f; done; for d in %s; do openssl x509 -noout -subject -in $d/weir-sandbox-ca.crt; done; " \
             "openssl verify -no-CAfile -CApath /etc/ssl/certs /run/weir/ca.pem" % (
                 " ".join(bundles), U, " ".join(anchors))
    argv = weir.argv(["sh", "-c", inside], audit=weir.path("audit.jsonl"), intercept=True)
    over = "mount -t overlay overlay -o lowerdir=/etc,upperdir=%s/up,workdir=%s/work /etc" % (upper, upper)
    if subprocess.run(["unshare", "-m", "sh", "-c", over], check=False, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("no overlay file system here")
    p = subprocess.run(["unshare", "-m", "sh", "-c", over + " && mount --bind %s /etc/resolv.conf; " % (
        "/media/lab/resolv.conf") + make + '; exec "$@"', "sh", *argv], check=False, text=True, timeout=120,
        env=weir.environment(None), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    print(p.stdout, p.stderr)
    lines = p.stdout.split("\n")
    assert lines.count('"path"') == len(bundles), (p.stdout, p.stderr)
    counts = [int(x) for x in lines if x.isdigit()]
    assert len(counts) == len(bundles) and min(counts) > 50, counts  # the host's own are still there
    assert p.stdout.count("subject=") == len(anchors) and ": OK" in p.stdout, p.stdout
    assert "warning: the sandbox's authority" not in p.stderr, p.stderr


# Parity: T08.
def test_tools_of_the_distribution_inside(weir, h2):
    """update-ca-certificates, run in the sandbox, makes a bundle that still has the authority."""
    if not os.path.exists("/usr/sbin/update-ca-certificates"):
        pytest.skip("no update-ca-certificates")
    r = weir.sh("/usr/sbin/update-ca-certificates 2>&1 | tail -3; env -u CURL_CA_BUNDLE -u SSL_CERT_FILE curl -sS "
                "--cacert %s %s | grep -o '\"path\"'" % (ROOTS, U), intercept=True)
    assert r.out.endswith('"path"\n'), r


# Parity: T08, weak-15.
@pytest.mark.netns("a data base in the host's home folder")
def test_nss_data_base(weir, h2):
    """A user's own, as Chromium makes it: in the sandbox it trusts the authority, outside it is as it was."""
    if not os.path.exists("/usr/bin/certutil"):
        pytest.skip("certutil (libnss3-tools) is not installed")
    db = weir.tmp + "/.pki/nssdb"
    os.makedirs(db)
    subprocess.run(["certutil", "-N", "-d", "sql:" + db, "--empty-password"], check=True)
    subprocess.run(["chmod", "-R", "a+rX", weir.tmp + "/.pki"], check=True)  # weir may be another user's
    before = open(db + "/cert9.db", "rb").read()
    r = weir.sh("certutil -L -d sql:$HOME/.pki/nssdb; certutil -V -u V -n weir-sandbox-ca -d sql:$HOME/.pki/nssdb; "
                "touch $HOME/.pki/nssdb/written", intercept=True, env={"HOME": weir.tmp})
    line = [x for x in r.out.splitlines() if x.startswith("weir-sandbox-ca")]
    assert line and line[0].split()[-1] == "C,,", r
    assert open(db + "/cert9.db", "rb").read() == before and not os.path.exists(db + "/written")
