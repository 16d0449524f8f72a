#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Inside the nested machine, for test_boot.py: boots of a stock kernel, one line "== NAME" before each.
#   boot.sh NAME...     of the functions below
base="quiet panic=-1 reboot=a pci=off 8250.nr_uarts=1 random.trust_cpu=on cryptomgr.notests"

# To the agent's hello, on each of the two monitors; the same kernel, initramfs, devices, and a memory that
# can be shared with a gateway.
hello_vmm() {
	exits ./agent_boot ./weir-vmm --memory 256 --cpus 1 --kernel-fd 3 --initrd-fd 4 --agent-fd @ 3<kernel 4<initrd
}
hello_qemu() {
	exits ./agent_boot qemu-system-x86_64 -M microvm,memory-backend=ram,acpi=on,pit=off,pic=off,rtc=on,x-option-roms=off \
		-accel kvm -cpu host -object memory-backend-memfd,id=ram,size=256M,share=on \
		-m 256 -smp 1 -nodefaults -no-user-config -display none -no-reboot \
		-kernel kernel -initrd initrd -append "console=ttyS0 $base" -serial file:/tmp/serial \
		-global virtio-mmio.force-legacy=off -device virtio-rng-device -device virtio-balloon-device \
		-chardev socket,id=agent,fd=@ -device virtio-serial-device \
		-device virtserialport,chardev=agent,name=agent
}

# end KERNEL CPUS HOW [MIB]: an init of our own, which ends the machine.
end() {
	./weir-vmm --memory "${4:-256}" --cpus "$2" --kernel-fd 3 --initrd-fd 4 --console-fd 1 --log-fd 1 \
		--cmdline "rdinit=/guest_init how=$3" 3<"$1" 4<initrd
	echo "status $?"
}
off_bzimage() { end bzimage 2 off; }
reset_pvh() { end kernel 1 reset; }
panic_pvh() { end kernel 1 panic; }
work_pvh() { end kernel 8 work; }
# More than lies below the hole; most of it is never touched.
large_pvh() { end kernel 2 off 4096; }

# What a process of ours may still do on this kernel, which has Landlock.
probe() {
	./weir-vmm --memory 64 --cpus 1 --kernel-fd 3 --probe process 2>&1 3<kernel
	echo "status $?"
}

# A bare-metal guest that looks at all of its memory; most of that is never touched.
memory() {
	for mib in 64 3328 3330 4096 20000; do
		./weir-vmm --memory "$mib" --cpus 1 --kernel-fd 3 --console-fd 1 --log-fd 1 3<memory
		echo "status $?"
	done
}

for name; do
	echo "== $name"
	"$name"
done
