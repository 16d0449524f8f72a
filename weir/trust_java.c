/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Java reads neither a bundle nor a variable: each JVM has a store of roots of its own,
 * where distributions put a link to theirs. Every JVM that can be found gets one with
 * the sandbox's authority in it.
 */
#include "weir/sandbox_trust.h"

#include "weir/java_store.h"

#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#define STORE_MAX (16 << 20)
/* Each is a copy in the sandbox's memory. */
#define STORES_MAX 32

/* jssecacerts, where it is, is read instead of cacerts. */
#define BOTH "{,jre/}lib/security/{jsse,}cacerts"

static const char *const places[] = {
	"/etc/ssl/certs/java/cacerts",		    /* Debian, Arch */
	"/etc/pki/ca-trust/extracted/java/cacerts", /* Fedora, RHEL */
	"/etc/pki/java/cacerts",
	"/var/lib/ca-certificates/java-cacerts", /* SUSE */
	"/usr/lib/jvm/*/" BOTH,
	"/usr/lib64/jvm/*/" BOTH,
	"/usr/java/*/" BOTH,
	"/usr/local/{openjdk,java,jdk}*/" BOTH, /* images of Docker */
	"/opt/*/" BOTH,
	"/opt/java/*/" BOTH,
};

static const char *const home_places[] = {
	"/.sdkman/candidates/java/*/" BOTH,
	"/.jdks/*/" BOTH,
	"/.gradle/jdks/*/" BOTH,
	"/.asdf/installs/java/*/" BOTH,
	"/.local/share/mise/installs/java/*/" BOTH,
};

static int copy_store(struct guest_trust *t, const char *from, const char *to)
{
	struct buf old = BUF_INIT(STORE_MAX), text = BUF_INIT(STORE_MAX);
	int r = file_read(from, STORE_MAX / 2, &old);

	if (r == 0)
		r = java_store_add(buf_at(&old), old.len, t->ca_pem, &text);
	if (r == 0)
		r = guest_trust_write(to, buf_at(&text), text.len);
	buf_fini(&old);
	buf_fini(&text);
	return r;
}

static void cover_store(struct guest_trust *t, const char *place)
{
	char real[PATH_MAX];
	const char *file, *target;
	int r;

	if (!realpath(place, real) || guest_trust_seen(t, real))
		return;
	if (t->n_stores == STORES_MAX) {
		log_warn("%s stays as it is: more than %d Java stores", place, STORES_MAX);
		return;
	}
	file = guest_trust_text(t, "%s/cacerts-%u", t->dir, t->n_stores++);
	target = guest_trust_text(t, "%s", place);
	r = file && target ? copy_store(t, real, file) : -ENOMEM;
	/* Where links are laid instead of mounts, other names of this store now lead to the copy. */
	if (r == 0 && !guest_trust_seen(t, file))
		r = t->lay(file, target);
	if (r == -EINVAL)
		log_warn("the sandbox's authority is not in %s: neither JKS nor PKCS 12 with the "
			 "usual password",
			 place);
	else if (r < 0)
		log_warn("the sandbox's authority is not in %s: %s", place, strerror(-r));
}

/* What stands in front of a pattern is no pattern. */
static bool is_plain(const char *path)
{
	return path && path[0] == '/' && !strpbrk(path, "*?[]{}\\~");
}

static void cover_pattern(struct guest_trust *t, const char *folder, const char *pattern)
{
	char path[PATH_MAX];
	glob_t found;

	if (!is_plain(folder) && *folder)
		return;
	if ((size_t)snprintf(path, sizeof(path), "%s%s%s", t->root, folder, pattern) >= sizeof(path))
		return;
	if (glob(path, GLOB_BRACE, NULL, &found) != 0)
		return;
	for (size_t i = 0; i < found.gl_pathc; i++)
		if (access(found.gl_pathv[i], F_OK) == 0)
			cover_store(t, found.gl_pathv[i]);
	globfree(&found);
}

void guest_trust_java(struct guest_trust *t)
{
	for (size_t i = 0; i < ARRAY_SIZE(places); i++)
		cover_pattern(t, "", places[i]);
	for (size_t i = 0; i < ARRAY_SIZE(home_places) && t->home; i++)
		cover_pattern(t, t->home, home_places[i]);
	if (t->java_home)
		cover_pattern(t, t->java_home, "/" BOTH);
}
