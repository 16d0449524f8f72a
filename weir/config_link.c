/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The link of a gateway as it is written:
 *
 *   tap:NAME                          an interface of this machine
 *   fd:N[,vhost-user]                 a descriptor that we were started with
 *   stream:PATH[,connect|mode=OCTAL]  a Unix socket; we listen unless told to connect
 *   vhost-user:PATH[,connect|mode=OCTAL]
 *   dgram:PATH[,peer=PATH][,mode=OCTAL]
 *
 * Options stand behind commas, so a path with a comma cannot be given.
 */
#include "weir/config_internal.h"

#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <sys/un.h>

#define DEFAULT_MODE 0600
/* What open(2) of a caller could give: far above any limit of descriptors. */
#define FD_MAX 1048575

static const char *const kinds[] = {
	[LINK_TAP] = "tap",
	[LINK_FD] = "fd",
	[LINK_STREAM] = "stream",
	[LINK_DGRAM] = "dgram",
	[LINK_VHOST_USER] = "vhost-user",
};

/* A path as the socket's address will have it. */
static int set_socket_path(struct config_builder *b, const struct where *w, const char *text,
			   char **ret)
{
	char *path = NULL;
	int r = 0;

	if (!text[0])
		return where_fail(w, b->err, "the path is missing");
	if (w->flag)
		path = strdup(text);
	else
		r = config_from_dir(b, text, &path);
	if (r == 0 && !path)
		r = -ENOMEM;
	if (r == 0 && strlen(path) >= sizeof(((struct sockaddr_un *)0)->sun_path)) {
		r = where_fail(w, b->err,
			       "a socket's path has at most %zu bytes, and this has %zu; take a "
			       "shorter one, or start weir in its folder and give a relative one",
			       sizeof(((struct sockaddr_un *)0)->sun_path) - 1, strlen(path));
		free(path);
	}
	if (r == 0)
		*ret = path;
	return r;
}

static int set_mode(struct config_builder *b, const struct where *w, const char *text,
		    struct link_config *l)
{
	unsigned mode = 0;
	size_t n = strlen(text);

	if (n < 3 || n > 4 || strspn(text, "01234567") != n)
		return where_fail(w, b->err, "mode= is octal, as 0660");
	for (const char *p = text; *p; p++)
		mode = mode << 3 | (unsigned)(*p - '0');
	if (mode > 0777 || (mode & 0600) != 0600)
		return where_fail(w, b->err, "mode= is from 0600 to 0777");
	l->mode = mode;
	return 0;
}

static int set_option(struct config_builder *b, const struct where *w, struct link_config *l,
		      const char *text)
{
	bool socket = l->kind == LINK_STREAM || l->kind == LINK_VHOST_USER;
	char quoted[80];

	if (socket && str_eq(text, "connect")) {
		l->connect = true;
		return 0;
	}
	if (l->kind == LINK_FD && str_eq(text, "vhost-user")) {
		l->vhost_user = true;
		return 0;
	}
	if (l->kind == LINK_DGRAM && str_starts(text, "peer="))
		return l->peer ? where_fail(w, b->err, "peer= is given twice")
			       : set_socket_path(b, w, text + strlen("peer="), &l->peer);
	if ((socket || l->kind == LINK_DGRAM) && str_starts(text, "mode="))
		return set_mode(b, w, text + strlen("mode="), l);
	log_quote(text, strlen(text), quoted, sizeof(quoted));
	return where_fail(
		w, b->err,
		"\"%s\": %s takes %s behind the comma (a path with a comma cannot be given)",
		quoted, kinds[l->kind],
		socket			? "connect or mode=OCTAL"
		: l->kind == LINK_DGRAM ? "peer=PATH or mode=OCTAL"
		: l->kind == LINK_FD	? "vhost-user"
					: "nothing");
}

static int set_interface(struct config_builder *b, const struct where *w, struct link_config *l,
			 const char *name)
{
	size_t n = strlen(name);

	if (n == 0 || n >= IFNAMSIZ || strpbrk(name, "/:% \t\n") || str_eq(name, ".") ||
	    str_eq(name, ".."))
		return where_fail(w, b->err,
				  "the name of an interface has 1 to %d characters, none of them a "
				  "blank, '/', ':' or '%%'",
				  IFNAMSIZ - 1);
	l->path = strdup(name);
	return l->path ? 0 : -ENOMEM;
}

static int set_descriptor(struct config_builder *b, const struct where *w, struct link_config *l,
			  const char *text)
{
	const char *why;
	uint64_t n;

	if (uint_parse(text, strlen(text), 3, FD_MAX, &n, &why) < 0)
		return where_fail(w, b->err, "%s; fd:N is a descriptor from 3 on", why);
	l->fd = (int)n;
	if (fcntl(l->fd, F_GETFD) < 0)
		return where_fail(w, b->err,
				  "descriptor %d is not open; whoever starts weir has to leave it "
				  "open",
				  l->fd);
	return 0;
}

static int set_target(struct config_builder *b, const struct where *w, struct link_config *l,
		      const char *text)
{
	switch (l->kind) {
	case LINK_TAP:
		return set_interface(b, w, l, text);
	case LINK_FD:
		return set_descriptor(b, w, l, text);
	case LINK_STREAM:
	case LINK_DGRAM:
	case LINK_VHOST_USER:
		return set_socket_path(b, w, text, &l->path);
	}
	return -EINVAL;
}

static int parse(struct config_builder *b, const struct where *w, char *words, struct link_config *l)
{
	char *kind = strsep(&words, ":"), *target = words ? strsep(&words, ",") : NULL, *option;
	int r;

	for (size_t i = LINK_TAP; target && i < ARRAY_SIZE(kinds); i++)
		if (str_eq(kind, kinds[i]))
			l->kind = (enum link_kind)i;
	if (!l->kind)
		return where_fail(w, b->err,
				  "a link is tap:NAME, fd:N, stream:PATH, dgram:PATH or "
				  "vhost-user:PATH");
	r = set_target(b, w, l, target);
	while (r == 0 && (option = strsep(&words, ",")))
		r = set_option(b, w, l, option);
	if (r == 0 && l->connect && l->mode)
		r = where_fail(w, b->err, "mode= is for the socket we make, and connect makes none");
	if (r == 0 && l->peer && str_eq(l->peer, l->path))
		r = where_fail(w, b->err, "peer= is the machine's socket, this one is weir's own");
	if (r == 0 && !l->mode)
		l->mode = DEFAULT_MODE;
	return r;
}

int config_set_link(struct config_builder *b, const struct where *w, const char *text)
{
	struct link_config l = { .fd = -1 };
	cleanup_free char *words = NULL;
	int r;

	/* It stands on the record, which is text. */
	for (const char *p = text; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			return where_fail(w, b->err, "has a control character");
	if (strlen(text) > CONFIG_LINK_MAX)
		return where_fail(w, b->err, "longer than %d bytes", CONFIG_LINK_MAX);
	words = strdup(text);
	l.text = strdup(text);
	r = words && l.text ? parse(b, w, words, &l) : -ENOMEM;
	if (r < 0) {
		free(l.text);
		free(l.path);
		free(l.peer);
		return r;
	}
	b->c->link = l;
	return 0;
}
