/* SPDX-License-Identifier: Apache-2.0 */
/* Replays a fuzzer's corpus through its driver, which the including file has included. */
#include <dirent.h>
#include <stdio.h>

static int replay_corpus(const char *dir)
{
	struct dirent **list;
	int n = scandir(dir, &list, NULL, alphasort), files = 0;

	if (n < 0) {
		fprintf(stderr, "%s: %s (run from the top of the tree)\n", dir, strerror(errno));
		return 1;
	}
	for (int i = 0; i < n; i++) {
		struct buf b = BUF_INIT(1 << 20);
		char path[512];

		snprintf(path, sizeof(path), "%s/%s", dir, list[i]->d_name);
		if (list[i]->d_type == DT_REG && file_read(path, 1 << 20, &b) == 0) {
			/* Anything wrong aborts. */
			fprintf(stderr, "%s\n", path);
			LLVMFuzzerTestOneInput(b.len ? buf_at(&b) : (const uint8_t *)"", b.len);
			files++;
		}
		buf_fini(&b);
		free(list[i]);
	}
	free(list);
	return files ? 0 : 1;
}
