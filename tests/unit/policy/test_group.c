/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The generated table against its source, read again here: both sides of every
 * boundary. Then every wrapping of every IPv4 boundary.
 */
#include "tests/unit/policy/policy_test.h"

#define ENTRIES_MAX 200

struct entry {
	struct ip_prefix prefix;
	char group[16];
};

static struct entry entries[ENTRIES_MAX];
static size_t n_entries;

static int read_table(void **state)
{
	FILE *f = fopen("policy/groups.tsv", "r");
	char line[512], *tab, *end;

	(void)state;
	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f)) {
		struct entry *e = &entries[n_entries];

		if (line[0] == '#' || line[0] == '\n')
			continue;
		tab = strchr(line, '\t');
		end = tab ? strchr(tab + 1, '\t') : NULL;
		if (!end || n_entries == ENTRIES_MAX ||
		    ip_prefix_parse(line, (size_t)(tab - line), &e->prefix, NULL) < 0)
			return -1;
		snprintf(e->group, sizeof(e->group), "%.*s", (int)(end - tab - 1), tab + 1);
		n_entries++;
	}
	fclose(f);
	return n_entries > 60 ? 0 : -1;
}

static const char *expected(const struct ip_addr *a)
{
	const struct entry *best = NULL;

	for (size_t i = 0; i < n_entries; i++)
		if (ip_in_prefix(a, &entries[i].prefix) &&
		    (!best || entries[i].prefix.len > best->prefix.len))
			best = &entries[i];
	return best->group;
}

/* a + d, false when it leaves the family. */
static bool step(struct ip_addr *a, int d)
{
	for (size_t i = ip_size(a); i-- > 0;) {
		int v = a->b[i] + d;

		a->b[i] = (uint8_t)v;
		if (v >= 0 && v <= 255)
			return true;
	}
	return false;
}

static struct ip_addr last_of(const struct ip_prefix *p)
{
	struct ip_addr a = p->addr;

	for (size_t i = p->len; i < ip_size(&a) * 8; i++)
		a.b[i / 8] |= (uint8_t)(0x80 >> i % 8);
	return a;
}

static const char *group_of(const struct ip_addr *a)
{
	return policy_group_name(policy_group_of(a));
}

/* Returns 1 when it was asked of the table itself. */
static int probe(const struct ip_addr *a)
{
	struct ip_addr inner;
	char ip[IP_STRLEN];
	const char *want = expected(a);

	if (policy_embedded_v4(a, &inner))
		return 0;
	if (!str_eq(group_of(a), want))
		fail_msg("%s: %s, want %s", ip_format(a, ip), group_of(a), want);
	return 1;
}

/* Parity: p1.2-one-group. */
static void n07_both_sides_of_every_boundary(void **state)
{
	int n = 0;

	(void)state;
	for (size_t i = 0; i < n_entries; i++) {
		struct ip_addr a = entries[i].prefix.addr, z = last_of(&entries[i].prefix);

		n += probe(&a) + probe(&z);
		if (step(&a, -1))
			n += probe(&a);
		if (step(&z, 1))
			n += probe(&z);
	}
	assert_true(n > 200);
}

/* Each form with a place for the address. Teredo's server is a public one. */
static const char *const forms[] = {
	"::%02x%02x:%02x%02x",
	"::ffff:%02x%02x:%02x%02x",
	"::ffff:0:%02x%02x:%02x%02x",
	"64:ff9b::%02x%02x:%02x%02x",
	"2002:%02x%02x:%02x%02x::",
	"2002:%02x%02x:%02x%02x:1:2:3:4:5",
	"2600::5efe:%02x%02x:%02x%02x",
	"2600::200:5efe:%02x%02x:%02x%02x",
	"2600:1:2:3:0:5efe:%02x%02x:%02x%02x",
};

static void check_wrapped(const char *text, const struct ip_addr *v4)
{
	struct ip_addr a = must_ip(text), inner = { 0 };
	char ip[IP_STRLEN];

	if (!policy_embedded_v4(&a, &inner) || !ip_equal(&inner, v4))
		fail_msg("%s: inside is %s", text, ip_format(&inner, ip));
	if (!str_eq(group_of(&a), expected(v4)))
		fail_msg("%s: %s, want %s as %s", text, group_of(&a), expected(v4),
			 ip_format(v4, ip));
}

/*
 * Local NAT64 (RFC 8215) has no one layout: whatever of RFC 6052 the network took,
 * what is inside is never public.
 */
static void check_local_nat64(const struct ip_addr *v4)
{
	const uint8_t *b = v4->b;
	const uint8_t at[][4] = { { 6, 7, 9, 10 }, { 8, 9, 10, 11 }, { 12, 13, 14, 15 } };

	for (size_t i = 0; i < ARRAY_SIZE(at); i++) {
		struct ip_addr a = must_ip("64:ff9b:1::");
		char ip[IP_STRLEN];

		for (size_t k = 0; k < 4; k++)
			a.b[at[i][k]] = b[k];
		if (policy_group_of(&a) == POLICY_GROUP_PUBLIC)
			fail_msg("%s is public", ip_format(&a, ip));
	}
}

static void check_all_forms(const struct ip_addr *v4)
{
	const uint8_t *b = v4->b;
	char text[80];

	check_local_nat64(v4);
	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		/* :: and ::1 are not compatible forms. */
		if (i == 0 && get_be32(b) <= 1)
			continue;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		snprintf(text, sizeof(text), forms[i], b[0], b[1], b[2], b[3]);
#pragma GCC diagnostic pop
		check_wrapped(text, v4);
	}
	snprintf(text, sizeof(text), "2001:0:4136:e378:8000:63bf:%02x%02x:%02x%02x", (uint8_t)~b[0],
		 (uint8_t)~b[1], (uint8_t)~b[2], (uint8_t)~b[3]);
	check_wrapped(text, v4);
}

/* Parity: p1.2-normalised, weak-5. */
static void n07_every_wrapping_of_every_boundary(void **state)
{
	(void)state;
	for (size_t i = 0; i < n_entries; i++) {
		struct ip_addr a = entries[i].prefix.addr, z = last_of(&entries[i].prefix);

		if (a.family != 4)
			continue;
		check_all_forms(&a);
		check_all_forms(&z);
		if (step(&a, -1))
			check_all_forms(&a);
		if (step(&z, 1))
			check_all_forms(&z);
	}
}

/* What the table says in words, and the wrappings where two readings meet. (p1.2-metadata) */
static void n07_known_addresses(void **state)
{
	static const struct {
		const char *ip, *group;
	} known[] = {
		{ "8.8.8.8", "public" },
		{ "2606:4700::1111", "public" },
		{ "0.0.0.0", "reserved" },
		{ "::", "reserved" },
		{ "::1", "loopback" },
		{ "127.255.255.255", "loopback" },
		{ "100.64.0.1", "private" },
		{ "100.100.100.200", "metadata" },
		{ "169.254.169.254", "metadata" },
		{ "169.254.169.253", "link_local" },
		{ "169.254.170.2", "metadata" },
		{ "169.254.170.23", "metadata" },
		{ "168.63.129.16", "metadata" },
		{ "192.0.0.192", "metadata" },
		{ "192.0.0.1", "reserved" },
		{ "198.18.0.1", "reserved" },
		{ "255.255.255.255", "reserved" },
		{ "224.0.0.251", "multicast" },
		{ "ff02::fb", "multicast" },
		{ "fe80::1", "link_local" },
		{ "fe80::a9fe:a9fe", "metadata" },
		{ "fec0::1", "reserved" },
		{ "fd00::1", "private" },
		{ "fd00:ec2::254", "metadata" },
		{ "fd00:ec2::23", "metadata" },
		{ "fd00:ec2::253", "metadata" },
		{ "fd20:ce::254", "metadata" },
		{ "fd00:c1::a9fe:a9fe", "metadata" },
		{ "fd00:42::42", "metadata" },
		{ "fd00:a9fe:a9fe::1", "metadata" },
		{ "64:ff9b:1::a00:1", "reserved" },
		{ "64:ff9b:1::808:808", "reserved" },
		{ "2001:db8::1", "reserved" },
		{ "3fff::1", "reserved" },
		{ "4000::1", "reserved" },
		{ "::ffff:169.254.169.254", "metadata" },
		{ "64:ff9b::169.254.169.254", "metadata" },
		{ "::ffff:8.8.8.8", "public" },
		{ "2002:a9fe:a9fe::", "metadata" },
		/* ISATAP below a prefix that is special itself: never more public than that. */
		{ "fe80::5efe:8.8.8.8", "link_local" },
		{ "fd00::5efe:8.8.8.8", "private" },
		{ "fd00:ec2::5efe:10.0.0.1", "metadata" },
		{ "fe80::5efe:169.254.169.254", "metadata" },
		{ "fe80::5efe:127.0.0.1", "loopback" },
		/* Two addresses inside: the one that is not public counts. */
		{ "2002:808:808::5efe:10.0.0.1", "private" },
		{ "2002:a00:1::5efe:8.8.8.8", "private" },
		/* Teredo: 8.8.8.8 as client; a server in 10/8 is nobody's. */
		{ "2001:0:4136:e378:8000:63bf:f7f7:f7f7", "public" },
		{ "2001:0:a00:1:8000:63bf:f7f7:f7f7", "reserved" },
		{ "2001:0:a00:1:8000:63bf:80ff:fffe", "loopback" },
	};
	struct ip_addr none = { 0 }, v;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		v = must_ip(known[i].ip);
		if (!str_eq(group_of(&v), known[i].group))
			fail_msg("%s: %s, want %s", known[i].ip, group_of(&v), known[i].group);
	}
	assert_int_equal(policy_group_of(&none), POLICY_GROUP_RESERVED);
	v = must_ip("::1");
	assert_false(policy_embedded_v4(&v, &none));
	v = must_ip("8.8.8.8");
	assert_false(policy_embedded_v4(&v, &none));
	assert_int_equal(none.family, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(n07_both_sides_of_every_boundary),
		cmocka_unit_test(n07_every_wrapping_of_every_boundary),
		cmocka_unit_test(n07_known_addresses),
	};

	return cmocka_run_group_tests(tests, read_table, NULL);
}
