/* SPDX-License-Identifier: MIT */
/* The multiboot information: command line and memory. */
#include "guest-stubs/lib/boot.h"

#include "guest-stubs/lib/print.h"

#define MULTIBOOT_MAGIC 0x2badb002u
#define INFO_MEMORY     0x1u
#define INFO_CMDLINE    0x4u

struct multiboot {
	uint32_t flags, mem_lower, mem_upper, boot_device, cmdline;
};

extern uint32_t boot_magic, boot_info;

static const struct multiboot *info(void)
{
	return boot_magic == MULTIBOOT_MAGIC ? (const struct multiboot *)(uintptr_t)boot_info : NULL;
}

/* The text behind `key=`, up to a blank; NULL if the key is not there. */
static const char *find(const char *key)
{
	const struct multiboot *mb = info();
	size_t n = strlen(key);
	const char *s;

	if (!mb || !(mb->flags & INFO_CMDLINE))
		return NULL;
	for (s = (const char *)(uintptr_t)mb->cmdline; *s;) {
		while (*s == ' ')
			s++;
		if (!memcmp(s, key, n) && s[n] == '=')
			return s + n + 1;
		while (*s && *s != ' ')
			s++;
	}
	return NULL;
}

uint64_t boot_number(const char *key, uint64_t otherwise)
{
	const char *s = find(key);
	uint64_t n = 0;
	bool hex;

	if (!s)
		return otherwise;
	hex = s[0] == '0' && s[1] == 'x';
	for (s += hex ? 2 : 0;; s++) {
		if (*s >= '0' && *s <= '9')
			n = n * (hex ? 16 : 10) + (unsigned)(*s - '0');
		else if (hex && *s >= 'a' && *s <= 'f')
			n = n * 16 + (unsigned)(*s - 'a') + 10;
		else
			return n;
	}
}

bool boot_is(const char *key, const char *value)
{
	const char *s = find(key);
	size_t n = strlen(value);

	return s && !memcmp(s, value, n) && (s[n] == ' ' || !s[n]);
}

uint64_t boot_memory(void)
{
	const struct multiboot *mb = info();

	return mb && mb->flags & INFO_MEMORY ? (uint64_t)mb->mem_upper << 10 : 0;
}
