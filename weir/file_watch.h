/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that are followed by name while they are written in place, renamed over,
 * or replaced by way of a link (a mounted Kubernetes secret swaps the link to the
 * folder that its files are links into). Never read here: who watches is told that
 * another file, or another state of it, is to be had by that name.
 *
 * inotify tells at once; a look every FILE_WATCH_POLL_NS is for file systems that
 * do not tell (NFS), and for when the kernel has no more watches to give.
 */
#ifndef WEIR_FILE_WATCH_H
#define WEIR_FILE_WATCH_H

#include "base/base.h"

#include <sys/stat.h>

#define FILE_WATCH_POLL_NS (10 * NS_PER_S)
/* Writers take several steps; what is told is what has rested so long. */
#define FILE_WATCH_SETTLE_NS (NS_PER_S / 5)

struct file_watch {
	struct list in_watcher;
	char *path;
	bool is_there;
	struct stat last;
	/* is_there says whether it is; called once for each change. */
	void (*changed)(struct file_watch *w);
};

struct file_watcher {
	struct loop *loop;
	struct list files;
	struct loop_io io; /* inotify */
	struct loop_timer settle, poll;
};

void file_watcher_init(struct file_watcher *fw, struct loop *loop);
void file_watcher_fini(struct file_watcher *fw); /* the files are the caller's */
/* path is copied. What is there now is known, and not told. */
must_check int file_watch_add(struct file_watcher *fw, struct file_watch *w, const char *path,
			      void (*changed)(struct file_watch *w));
/* Also one that was never added. */
void file_watch_del(struct file_watch *w);

#endif
