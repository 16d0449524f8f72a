/* SPDX-License-Identifier: Apache-2.0 */
/* A group's ranges say what policy_group_of() says, and together they are everything that a range can tell. */
#include "policy/policy.h"
#include "tests/unit/policy/policy_test.h"

struct range {
	struct ip_addr first, last;
};

static struct range all[4096];
static size_t n_all;
static enum policy_group group_now;

static void check_range(void *user, const struct ip_addr *first, const struct ip_addr *last)
{
	(void)user;
	assert_int_equal(first->family, last->family);
	assert_true(memcmp(first->b, last->b, ip_size(first)) <= 0);
	assert_int_equal(policy_group_of(first), group_now);
	assert_int_equal(policy_group_of(last), group_now);
	assert_true(n_all < ARRAY_SIZE(all));
	all[n_all++] = (struct range){ *first, *last };
}

static int compare(const void *a, const void *b)
{
	const struct range *x = a, *y = b;

	if (x->first.family != y->first.family)
		return x->first.family - y->first.family;
	return memcmp(x->first.b, y->first.b, 16);
}

static struct ip_addr behind(struct ip_addr a)
{
	for (size_t i = ip_size(&a); i-- > 0;)
		if (++a.b[i])
			break;
	return a;
}

static void test_partition(void **state)
{
	const struct ip_addr teredo = { 6, { 0x20, 0x01 } },
			     after_teredo = { 6, { 0x20, 0x01, 0, 1 } };
	struct ip_addr next = { .family = 4 };

	(void)state;
	for (int g = POLICY_GROUP_METADATA; g <= POLICY_GROUP_PUBLIC; g++) {
		group_now = (enum policy_group)g;
		policy_group_ranges(group_now, check_range, NULL);
	}
	qsort(all, n_all, sizeof(*all), compare);
	for (size_t i = 0; i < n_all; i++) {
		if (i && all[i].first.family == 6 && all[i - 1].first.family == 4)
			next = (struct ip_addr){ .family = 6 };
		if (ip_equal(&next, &teredo))
			next = after_teredo;
		/* No hole, no overlap. */
		assert_true(ip_equal(&all[i].first, &next));
		next = behind(all[i].last);
	}
	assert_true(ip_equal(&next, &(struct ip_addr){ .family = 6 }));
	assert_true(n_all > 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_partition) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
