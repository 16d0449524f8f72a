#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Inside the nested machine, for test_run.py: `weir run --backend kvm` in a root that is no initramfs
# (which nobody can pivot away from), with a server of this machine's to talk to.
if [ "${1:-}" != inside ]; then
	mkdir /n
	mount -t tmpfs -o size=900m root /n
	for d in bin etc lib lib64 usr w; do [ ! -e /$d ] || cp -a /$d /n/; done
	for d in dev proc sys tmp run; do
		mkdir /n/$d
		mount -o rbind /$d /n/$d
	done
	cd /n
	mount --move . /
	exec chroot . sh /w/run.sh inside
fi
cd /w
mkdir -p www cache
echo "served by the host" >www/page
busybox httpd -h www -p 198.51.100.7:80
# Nothing in here is verified; weir only wants to know by whom.
export SSL_CERT_FILE=/w/ca.pem
export XDG_CACHE_HOME=/w/cache XDG_STATE_HOME=/w/state PATH=/w:$PATH
vm="weir run --backend kvm --kernel kernel --modules modules --memory 256MiB --cpus 1"

part() { echo "== $1"; }
part doctor
ls /sys/module | grep kvm
part all
echo "typed in" | $vm -v --name box --audit all.jsonl --net-rule allow@198.51.100.7:tcp:80 --net-default-egress deny \
	--dns-record web.example.com=198.51.100.7 --env GREETING=hello -- sh -c '
	uname -r; id -u; hostname; echo "greeting $GREETING"; cat
	wget -q -O - http://198.51.100.7/page
	nc 198.51.100.8 80 </dev/null || echo "refused $?"
	touch /written && echo complaint >&2; exit 7'
echo "status $?"
part record
cat all.jsonl
part notfound
weir run --backend auto --kernel kernel --modules modules --memory 256MiB --cpus 1 -- surely-not-there
echo "status $?"
part left
ps w | grep -c "[w]eir-vmm"
exit 0
