# SPDX-License-Identifier: Apache-2.0
# Sourced: what Debian packages building, testing and measuring need, and how to get them.

packages_build='build-essential cmake ninja-build pkg-config libjansson-dev libssl-dev libc-ares-dev
	libseccomp-dev libmnl-dev libnftnl-dev libpcap-dev libpsl-dev publicsuffix libidn2-dev libyaml-dev
	libtomlplusplus-dev libarchive-dev liblzma-dev libext2fs-dev libnghttp2-dev zlib1g-dev libbrotli-dev libzstd-dev libcmocka-dev ca-certificates'
packages_lab='python3 python3-cryptography python3-dnspython iproute2 nftables openssh-client
	openssh-server git curl dpkg util-linux'
packages_demo="bind9-dnsutils procps busybox traceroute nodejs"
packages_test="e2fsprogs squashfs-tools erofs-utils nghttp2-client python3-botocore python3-pytest python3-yaml python3-requests python3-jsonschema wget nodejs bind9-dnsutils knot-dnsutils
	iputils-ping iputils-tracepath traceroute busybox isc-dhcp-client microsocks openssl procps clang clang-format
	libclang-rt-dev llvm hostname iodine qemu-system-x86 cpio kmod node-ws zstd brotli
	python3-httpx python3-h2 python3-aiohttp python3-websockets python3-grpcio python3-pip
	nginx-light nghttp2-proxy"
# Large clients, PROGRAM:PACKAGE. Tests that need one are skipped where it cannot be had.
packages_clients='javac:default-jdk-headless go:golang-go chromium:chromium npm:npm
	certutil:libnss3-tools'
packages_bench='iperf3 passt slirp4netns dnsperf dnsmasq-base unbound'
packages_bench_tls='mitmproxy squid-openssl nginx-light haproxy nghttp2-client nghttp2-proxy wrk curl nftables iproute2
	util-linux openssl python3'

# packages_try PROGRAM:PACKAGE...: install the packages of programs that are not there, where that can be done.
packages_try() {
	wanted=
	for p; do
		command -v "${p%%:*}" >/dev/null 2>&1 || wanted="$wanted ${p#*:}"
	done
	[ -z "$wanted" ] || packages_ensure $wanted || echo "left out:$wanted" >&2
}

# packages_ensure NAME...: install what is missing (as root), or say what is and how to get it.
packages_ensure() {
	missing=
	for p; do
		dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null | grep -qx installed ||
			missing="$missing $p"
	done
	[ -z "$missing" ] && return 0
	if [ "$(id -u)" -ne 0 ]; then
		echo "These packages are missing; as root:" >&2
		echo "    apt-get install -y --no-install-recommends$missing" >&2
		return 1
	fi
	echo "installing:$missing"
	# The lab starts its own sshd; no service may start on this machine because of us.
	guard=
	if [ ! -e /usr/sbin/policy-rc.d ]; then
		guard=/usr/sbin/policy-rc.d
		printf '#!/bin/sh\nexit 101\n' >"$guard"
		chmod 755 "$guard"
	fi
	DEBIAN_FRONTEND=noninteractive
	export DEBIAN_FRONTEND
	# Also under set -e, everything below has to run.
	rc=0
	{ apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing >/dev/null; } || rc=$?
	[ -z "$guard" ] || rm -f "$guard"
	# Nor with the next start. A container may have no systemd.
	for service in openssh-server:ssh unbound:unbound iodine:iodined nginx-light:nginx nghttp2-proxy:nghttpx \
		squid-openssl:squid haproxy:haproxy; do
		case "$missing " in
		*" ${service%%:*} "*) systemctl disable "${service#*:}" >/dev/null 2>&1 || : ;;
		esac
	done
	return $rc
}
