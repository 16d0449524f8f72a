/* SPDX-License-Identifier: Apache-2.0 */
/* weir-policy-replay: what `weir policy replay` becomes when its input is a packet capture. */
#include "base/base.h"
#include "weir/replay.h"

static int read_it(const struct replay_input *in, char **argv)
{
	(void)argv;
	return replay_capture(in);
}

int main(int argc, char **argv)
{
	log_setup("", LOG_LEVEL_WARN);
	return replay_main(argc, argv, read_it);
}
