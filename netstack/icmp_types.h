/* SPDX-License-Identifier: Apache-2.0 */
/* Types of ICMP (RFC 792) and ICMPv6 (RFC 4443) messages that the stack reads or writes. */
#ifndef WEIR_NETSTACK_ICMP_TYPES_H
#define WEIR_NETSTACK_ICMP_TYPES_H

#define ECHO_REPLY 0
#define ECHO_REQUEST 8
#define ECHO6_REQUEST 128
#define ECHO6_REPLY 129

#define V4_UNREACHABLE 3
#define V4_EXCEEDED 11
#define V4_PARAMETER 12
#define V6_UNREACHABLE 1
#define V6_TOO_BIG 2
#define V6_EXCEEDED 3
#define V6_PARAMETER 4

#endif
