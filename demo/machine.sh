#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What a machine does that has nothing but a network card: asks for a lease, and then for two hosts.
set -u
cat >"$DEMO_OUT/lease.sh" <<'END'
#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr replace "$ip/$mask" dev "$interface"
ip route replace default via "$router"
echo "nameserver $dns" >/etc/resolv.conf
echo "lease $ip/$mask, router $router, resolver $dns"
END
chmod +x "$DEMO_OUT/lease.sh"
busybox udhcpc -i eth0 -n -q -f -s "$DEMO_OUT/lease.sh" 2>/dev/null
echo "$(curl -sS -m 20 http://files.example.com/bytes/200000 | wc -c) bytes"
curl -sS -m 20 http://evil.example.net/
exit 0
