/* SPDX-License-Identifier: MIT */
/* The multiboot2 information: tags, every length checked before it is believed. */
#include "boot/multiboot2.h"
#include "kernel/string.h"

/* Multiboot2 Specification, "Boot information format". */
enum tag_type {
	TAG_END = 0,
	TAG_CMDLINE = 1,
	TAG_MODULE = 3,
	TAG_MEMORY = 6,
	TAG_RSDP_1 = 14,
	TAG_RSDP_2 = 15,
};

struct information {
	uint32_t total_size;
	uint32_t reserved;
};

struct tag {
	uint32_t type;
	uint32_t size; /* header included, padding to 8 not */
};

struct tag_module {
	struct tag tag;
	uint32_t start;
	uint32_t end;
};

struct tag_memory {
	struct tag tag;
	uint32_t entry_size;
	uint32_t entry_version;
};

struct memory_entry {
	uint64_t base;
	uint64_t length;
	uint32_t type;
	uint32_t reserved;
};

/* A string that starts `offset` bytes into the tag, if its end lies in the tag too; else NULL. */
static const char *tag_string(const struct tag *tag, size_t offset)
{
	const char *text = (const char *)tag + offset;

	for (size_t i = offset; i < tag->size; i++)
		if (text[i - offset] == '\0')
			return text;
	return NULL;
}

static const char *parse_cmdline(const struct tag *tag, struct boot_info *boot)
{
	boot->cmdline = tag_string(tag, sizeof(*tag));
	return boot->cmdline ? NULL : "the command line has no end";
}

static const char *parse_module(const struct tag *tag, struct boot_info *boot)
{
	struct tag_module module;
	struct boot_module *out = &boot->modules[boot->module_count];

	if (tag->size < sizeof(module))
		return "a module tag is too short";
	if (boot->module_count == BOOT_MODULES_MAX)
		return "more modules than 32";
	memcpy(&module, tag, sizeof(module));
	if (module.end < module.start)
		return "a module ends before it starts";
	out->start = module.start;
	out->end = module.end;
	out->string = tag_string(tag, sizeof(module));
	if (!out->string)
		return "a module line has no end";
	boot->module_count++;
	return NULL;
}

static const char *parse_memory(const struct tag *tag, struct boot_info *boot)
{
	struct tag_memory map;
	struct memory_entry entry;

	if (tag->size < sizeof(map))
		return "the memory map's tag is too short";
	memcpy(&map, tag, sizeof(map));
	if (map.entry_size < sizeof(entry))
		return "the memory map's entries are too short";
	/* A later version may have longer entries: the specification says to step by entry_size. */
	for (size_t at = sizeof(map); tag->size - at >= map.entry_size; at += map.entry_size) {
		memcpy(&entry, (const char *)tag + at, sizeof(entry));
		if (entry.length == 0)
			continue;
		if (entry.base + entry.length < entry.base)
			return "a memory map entry passes the end of the address space";
		if (boot->memory_count == BOOT_MEMORY_MAX)
			return "more memory map entries than 256";
		boot->memory[boot->memory_count++] = (struct boot_memory){
			.start = entry.base,
			.end = entry.base + entry.length,
			.type = entry.type,
		};
	}
	return NULL;
}

/* The newer of two RSDPs wins: firmware may leave out the 64-bit table's address in the older one. */
static const char *parse_rsdp(const struct tag *tag, struct boot_info *boot, size_t size)
{
	if (tag->size < sizeof(*tag) + size)
		return "the ACPI tag is too short";
	if (size < boot->rsdp_size)
		return NULL;
	memcpy(boot->rsdp, tag + 1, size);
	boot->rsdp_size = size;
	return NULL;
}

static const char *parse_tag(const struct tag *tag, struct boot_info *boot)
{
	switch (tag->type) {
	case TAG_CMDLINE:
		return parse_cmdline(tag, boot);
	case TAG_MODULE:
		return parse_module(tag, boot);
	case TAG_MEMORY:
		return parse_memory(tag, boot);
	case TAG_RSDP_1:
		return parse_rsdp(tag, boot, 20);
	case TAG_RSDP_2:
		return parse_rsdp(tag, boot, BOOT_RSDP_SIZE);
	default: /* the specification: skip what you do not know */
		return NULL;
	}
}

const char *multiboot2_parse(const void *info, size_t limit, struct boot_info *boot)
{
	const char *base = info;
	struct information head;
	size_t at = sizeof(head);

	memset(boot, 0, sizeof(*boot));
	boot->cmdline = "";
	if (limit < sizeof(head) || ((uintptr_t)info & 7) != 0)
		return "it is not where it should be";
	memcpy(&head, info, sizeof(head));
	if (head.total_size < sizeof(head) || head.total_size > limit)
		return "its size is wrong";
	boot->info_start = (uintptr_t)info;
	boot->info_end = boot->info_start + head.total_size;

	while (head.total_size - at >= sizeof(struct tag)) {
		const struct tag *tag = (const struct tag *)(base + at);
		const char *wrong;

		if (tag->size < sizeof(*tag) || tag->size > head.total_size - at)
			return "a tag's size is wrong";
		if (tag->type == TAG_END)
			return boot->memory_count ? NULL : "there is no memory map";
		wrong = parse_tag(tag, boot);
		if (wrong)
			return wrong;
		at += ((size_t)tag->size + 7) & ~(size_t)7;
		if (at > head.total_size)
			break;
	}
	return "it has no end tag";
}
