/* SPDX-License-Identifier: MIT */
/* Loads a guest, multiboot (version 1) or Linux, into guest RAM. Pure: bytes in, bytes out. */
#pragma once

#include <stddef.h>

#include "arch/x86/virt.h"

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
	const char *name;      /* becomes argv[0] of a multiboot guest */
	const char *arguments; /* follow it after a blank; never NULL */
	const struct load_module *module;
	unsigned module_count; /* at most LOAD_MAX_MODULES */
};

/* A range of the memory map, as the BIOS and both protocols have it. */
struct load_range {
	uint64_t base, length;
	uint32_t type; /* 1 RAM, 2 reserved */
} __attribute__((packed));
#define LOAD_RANGES 4u

/* Fills the map; returns how many ranges it has. */
unsigned load_map(const struct load_request *request, struct load_range map[LOAD_RANGES]);

bool load_is_linux(const void *image, size_t size);

/*
 * Both place everything and fill `start`. NULL, or why the image is refused (RAM may then have been written).
 *
 * Linux: an image for which load_is_linux() is true; the kernel goes where it prefers to be, the only module is its
 * initrd and goes as high as possible, boot parameters, GDT and command line (the arguments) to 0x90000.
 *
 * Multiboot: EBX has the address of the information. Segments go to their physical addresses, anywhere but the firmware's area from 640 KiB to 1 MiB; modules
 * page-aligned above the image and 1 MiB; the information as high below 640 KiB as the image leaves room,
 * never in page 0.
 */
const char *load_linux(const struct load_request *request, struct virt_start *start);
const char *load_multiboot(const struct load_request *request, struct virt_start *start);
