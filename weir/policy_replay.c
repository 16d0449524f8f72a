/* SPDX-License-Identifier: Apache-2.0 */
/* weir policy replay: what happened, judged again. A record and a capture are told apart by their first bytes. */
#include "weir/policy_cmd.h"

#include "base/base.h"
#include "weir/replay.h"

#include <fcntl.h>
#include <unistd.h>

const char policy_help_replay[] =
	"Usage: weir policy replay FILE|PRESET RECORD.jsonl [OPTIONS]\n"
	"       weir policy replay FILE|PRESET CAPTURE.pcap|pcapng [OPTIONS]\n"
	"\n"
	"Judges a recorded run again: what would this policy decide differently? Of a\n"
	"capture, weir's own or another, it says what the policy would allow and deny.\n"
	"\n"
	"  --all               the unchanged decisions, too\n"
	"  --floor FILE        an operator's floor: what passes must pass both\n"
	"  --guest ADDR[/LEN]  of a capture: the sandbox's side (else weir's own addresses,\n"
	"                      else whoever sends a flow's first packet)\n"
	"  --json              one JSON object\n"
	"\n"
	"\"depends\" is what the input does not tell: a name or a request that was not read.\n"
	"What no policy decides (failures, limits, packets that are never carried) is\n"
	"counted apart.\n"
	"\n"
	"Exit status, of a record: 0 the same verdicts, 1 some differ, 2 error or a record\n"
	"whose chain is broken. Of a capture: 0 all allowed, 1 not all, 2 error.\n";

/* Sections of pcapng; pcap in both orders, with microseconds or nanoseconds. */
static bool is_capture(const uint8_t *p, size_t n)
{
	static const uint8_t magics[][4] = {
		{ 0x0a, 0x0d, 0x0d, 0x0a }, { 0xa1, 0xb2, 0xc3, 0xd4 }, { 0xd4, 0xc3, 0xb2, 0xa1 },
		{ 0xa1, 0xb2, 0x3c, 0x4d }, { 0x4d, 0x3c, 0xb2, 0xa1 },
	};

	for (size_t i = 0; n == 4 && i < ARRAY_SIZE(magics); i++)
		if (memcmp(p, magics[i], 4) == 0)
			return true;
	return false;
}

static int replay(const struct replay_input *in, char **argv,
		  int (*capture)(const struct replay_input *in, char **argv))
{
	cleanup_close int fd = open(in->path, O_RDONLY | O_CLOEXEC);
	uint8_t magic[4];
	ssize_t n;

	if (fd < 0)
		return policy_cmd_complain("replay", "%s: %s", in->path, strerror(errno));
	n = pread(fd, magic, sizeof(magic), 0);
	if (n < 0)
		return policy_cmd_complain("replay", "%s: %s", in->path, strerror(errno));
	if (is_capture(magic, (size_t)n))
		return capture(in, argv);
	if (in->guest)
		return policy_cmd_complain("replay", "--guest is for a capture; %s is none",
					   in->path);
	return replay_record(in);
}

int replay_main(int argc, char **argv, int (*capture)(const struct replay_input *in, char **argv))
{
	struct policy_cmd_args a = { 0 };
	struct policy *p = NULL;
	int e = policy_cmd_two(argc, argv, "FILE or PRESET", "a record or capture", &a);

	if (e == 0)
		e = policy_cmd_load("replay", a.first, a.floor, &p);
	if (e)
		return e;
	e = replay(
		&(struct replay_input){
			.path = a.second, .guest = a.guest, .policy = p, .json = a.json, .all = a.all },
		argv, capture);
	policy_free(p);
	return e;
}

static int elsewhere(const struct replay_input *in, char **argv)
{
	(void)in;
	return policy_cmd_helper("replay", "weir-policy-replay", argv);
}

int policy_cmd_replay(int argc, char **argv)
{
	return replay_main(argc, argv, elsewhere);
}
