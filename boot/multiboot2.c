/* SPDX-License-Identifier: MIT */
/* The multiboot2 information: tags, every length checked before it is believed. */
#include "boot/multiboot2.h"
#include "kernel/string.h"

/* Multiboot2 Specification, "Boot information format". */
enum { TAG_END = 0, TAG_CMDLINE = 1, TAG_MODULE = 3, TAG_MEMORY = 6, TAG_RSDP_1 = 14, TAG_RSDP_2 = 15 };

struct tag {
	uint32_t type, size; /* the size is of all of it, padding to 8 not included */
	union {
		uint8_t rsdp[8]; /* and more */
		struct {
			uint32_t start, end;
		} module; /* the line follows */
		struct {
			uint32_t entry_size, version;
		} memory; /* the entries follow */
	};
};

struct memory_entry {
	uint64_t base, length;
	uint32_t type, reserved;
} __attribute__((packed));

/* What a tag has before its text or its entries. */
static const uint32_t least_size[] = {
	[TAG_CMDLINE] = 8,
	[TAG_MODULE] = 16,
	[TAG_MEMORY] = 16,
	[TAG_RSDP_1] = 8 + 20,
	[TAG_RSDP_2] = 8 + BOOT_RSDP_SIZE,
};

/* The text behind that, if its end lies in the tag too; else NULL. */
static const char *tag_text(const struct tag *tag)
{
	const char *text = (const char *)tag + least_size[tag->type], *end = (const char *)tag + tag->size;

	for (const char *at = text; at < end; at++)
		if (*at == '\0')
			return text;
	return NULL;
}

static const char *parse_module(const struct tag *tag, struct boot_info *boot)
{
	const char *text = tag_text(tag);

	if (boot->module_count == BOOT_MODULES_MAX)
		return "more modules than 32";
	if (tag->module.end < tag->module.start)
		return "a module ends before it starts";
	boot->modules[boot->module_count++] = (struct boot_module){ tag->module.start, tag->module.end,
		                                                    text };
	return text ? NULL : "a module line has no end";
}

static const char *parse_memory(const struct tag *tag, struct boot_info *boot)
{
	uint32_t step = tag->memory.entry_size;

	if (step < sizeof(struct memory_entry))
		return "the memory map's entries are too short";
	/* A later version may have longer entries: the specification says to step by entry_size. */
	for (size_t at = least_size[TAG_MEMORY]; tag->size - at >= step; at += step) {
		const struct memory_entry *entry = (const void *)((const char *)tag + at);
		uint64_t end = entry->base + entry->length;

		if (entry->length == 0)
			continue;
		if (end < entry->base)
			return "a memory map entry passes the end of the address space";
		if (boot->memory_count == BOOT_MEMORY_MAX)
			return "more memory map entries than 256";
		boot->memory[boot->memory_count++] = (struct boot_memory){ entry->base, end, entry->type };
	}
	return NULL;
}

static const char *parse_tag(const struct tag *tag, struct boot_info *boot)
{
	if (tag->type < sizeof(least_size) / sizeof(least_size[0]) && tag->size < least_size[tag->type])
		return "a tag is too short for what it says";
	switch (tag->type) {
	case TAG_CMDLINE:
		boot->cmdline = tag_text(tag);
		return boot->cmdline ? NULL : "the command line has no end";
	case TAG_MODULE:
		return parse_module(tag, boot);
	case TAG_MEMORY:
		return parse_memory(tag, boot);
	case TAG_RSDP_1:
	case TAG_RSDP_2:
		/* The newer one wins: firmware may leave out the 64-bit table's address in the older. */
		if (least_size[tag->type] - 8 < boot->rsdp_size)
			return NULL;
		boot->rsdp_size = least_size[tag->type] - 8;
		memcpy(boot->rsdp, tag->rsdp, boot->rsdp_size);
		return NULL;
	default: /* the specification: skip what you do not know */
		return NULL;
	}
}

const char *multiboot2_parse(const void *info, size_t limit, struct boot_info *boot)
{
	uint32_t total;

	memset(boot, 0, sizeof(*boot));
	boot->cmdline = "";
	if (limit < 8 || (uintptr_t)info % 8 != 0)
		return "it is not where it should be";
	total = *(const uint32_t *)info;
	if (total < 8 || total > limit)
		return "its size is wrong";
	boot->info_start = (uintptr_t)info;
	boot->info_end = boot->info_start + total;

	for (size_t at = 8; at + 8 <= total;) {
		const struct tag *tag = (const void *)((const char *)info + at);
		const char *wrong;

		if (tag->size < 8 || tag->size > total - at)
			return "a tag's size is wrong";
		if (tag->type == TAG_END)
			return boot->memory_count ? NULL : "there is no memory map";
		wrong = parse_tag(tag, boot);
		if (wrong)
			return wrong;
		at += ((size_t)tag->size + 7) & ~(size_t)7;
	}
	return "it has no end tag";
}
