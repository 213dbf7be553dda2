/* SPDX-License-Identifier: MIT */
/* Loads a multiboot (version 1) guest into guest RAM. Pure: bytes in, bytes out. */
#ifndef KERNEL_LOAD_H
#define KERNEL_LOAD_H

#include <stddef.h>
#include <stdint.h>

#define LOAD_MULTIBOOT_EAX 0x2badb002u /* what EAX holds when the guest starts */

struct load_module {
	const void *image;
	size_t size;
	const char *string; /* never NULL */
};

#define LOAD_MAX_MODULES  8
#define LOAD_MAX_SEGMENTS 16

struct load_request {
	uint8_t *ram;  /* guest-physical 0 to `size`; zeroed, for only what is loaded is written */
	uint64_t size; /* 1 MiB to 3 GiB */
	uint64_t high; /* bytes of RAM at 4 GiB, for the memory map */
	const void *image;
	size_t image_size;
	const char *name;      /* becomes argv[0] */
	const char *arguments; /* follow it after a blank; never NULL */
	const struct load_module *module;
	unsigned module_count; /* at most LOAD_MAX_MODULES */
};

struct load_start {
	uint32_t entry;
	uint32_t info; /* guest-physical address of the multiboot information, for EBX */
};

/*
 * Places image, modules and information. NULL, or why the image is refused (RAM may then have been written).
 * Segments go to their physical addresses, anywhere but the firmware's area from 640 KiB to 1 MiB; modules
 * page-aligned above the image and 1 MiB; the information as high below 640 KiB as the image leaves room,
 * never in page 0.
 */
const char *load_multiboot(const struct load_request *request, struct load_start *start);

#endif
