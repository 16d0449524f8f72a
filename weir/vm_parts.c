/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a machine boots from and has as disks, made or found in the store by weir-image.
 * The root is opened read-only, whoever made it; what a machine writes to it goes
 * into a layer of its own, a file without a name that is gone with the monitor.
 */
#include "weir/vm.h"
#include "weir/vm_image.h"

static int open_root(struct weir_config *cfg, const char *program, struct vm_parts *p,
		     struct conf_error *err)
{
	const struct machine_config *m = &cfg->machine;
	struct image_root_options o = {
		.rootfs = m->rootfs,
		.archive = m->image,
		.reference = m->reference,
		.patches = &m->patches,
	};
	int r = vm_image_root(program, p->store, &o, &p->root, err);

	if (r < 0)
		return r;
	p->has_root = true;
	for (char **note = p->root.notes; note && *note; note++)
		log_warn("%s", *note);
	return 0;
}

/* QEMU's layer begins as a small qcow2 file, weir-vmm's as an empty one. */
static int open_layer(const struct vm_choice *choice, struct vm_parts *p, struct conf_error *err)
{
	struct image_error e = { { 0 } };
	int r;

	if (p->root.fs != IMAGE_EXT4)
		return 0;
	r = image_layer_open(p->store, 0, &p->layer, &e);
	if (r == 0 && choice->backend == BACKEND_QEMU)
		r = vm_layer_qcow2(p->layer, p->root.size);
	if (r < 0)
		conf_error_set(err, "%s", e.text[0] ? e.text : strerror(-r));
	return r;
}

int vm_parts_open(struct weir_config *cfg, const struct vm_choice *choice, struct vm_parts *ret,
		  struct conf_error *err)
{
	struct image_boot_options o = {
		.kernel = cfg->machine.kernel,
		.modules = cfg->machine.modules,
		.agent = choice->agent,
	};
	struct image_error e = { { 0 } };
	int r;

	*ret = (struct vm_parts){ .layer = -1 };
	r = image_store_open(NULL, &ret->store, &e);
	if (r < 0) {
		conf_error_set(err, "%s", e.text);
		return r;
	}
	r = open_root(cfg, choice->image, ret, err);
	if (r == 0)
		o.needs = image_fs_needs(ret->root.fs);
	for (size_t i = 0; r == 0 && i < cfg->machine.n_volumes; i++) {
		r = vm_image_volume(choice->image, ret->store, &cfg->machine.volumes[i], err);
		if (r == 0)
			o.needs |= image_fs_needs(cfg->machine.volumes[i].fs);
	}
	if (r == 0)
		r = vm_image_boot(choice->image, ret->store, &o, &ret->boot, err);
	if (r < 0)
		return r;
	ret->has_boot = true;
	ret->volumes = cfg->machine.volumes;
	ret->n_volumes = cfg->machine.n_volumes;
	return open_layer(choice, ret, err);
}

void vm_parts_fini(struct vm_parts *p)
{
	if (p->has_boot)
		image_boot_fini(&p->boot);
	if (p->has_root)
		image_root_fini(&p->root);
	fd_close(p->layer);
	image_store_free(p->store);
	*p = (struct vm_parts){ .layer = -1 };
}
