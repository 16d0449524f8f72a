/* SPDX-License-Identifier: Apache-2.0 */
/* The PVH entry: 32-bit, flat, no stack yet. EBX is the start info, main()'s argument. */
	.section .note.Xen, "a", @note
	.align 4
	.long 4, 4, 18		/* sizes of name and content; the 32-bit entry */
	.asciz "Xen"
	.long start

	.section .text.start, "ax", @progbits
	.code32
	.globl start
start:
	movl $stack_top, %esp
	pushl %ebx
	call main
	movb $0x34, %al		/* who returns powers off: S5, now */
	movw $0x600, %dx
	outb %al, %dx
1:	hlt
	jmp 1b

	.section .bss
	.align 16
	.skip 16384
stack_top:
	.section .note.GNU-stack, "", @progbits
