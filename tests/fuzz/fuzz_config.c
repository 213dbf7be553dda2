/* SPDX-License-Identifier: MIT */
/* Fuzzes the configuration: each line of the input is a module's; the first one is the hypervisor's own. */
/* SOURCES: kernel/config.c kernel/format.c */
#include <stdlib.h>
#include <string.h>

#include "kernel/config.h"

#define REQUIRE(condition)        \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool terminated(const char *text, size_t size)
{
	return memchr(text, '\0', size);
}

/* What the rest of the hypervisor relies on without asking again. */
static void check_vm(const struct config_vm *vm)
{
	REQUIRE(terminated(vm->name, sizeof(vm->name)) && vm->name[0]);
	REQUIRE(vm->vcpus >= 1 && vm->vcpus <= VIC_MAX_VCPUS);
	REQUIRE(vm->memory >= 1 << 20 && vm->memory <= 1ull << 40 && vm->memory % 4096 == 0);
	REQUIRE((unsigned)vm->route < BH_ROUTES);
	REQUIRE(vm->cpu_count <= VIC_MAX_VCPUS && vm->peer_count <= CONFIG_MAX_VMS);
	for (unsigned i = 0; i < vm->cpu_count; i++)
		REQUIRE(vm->cpu[i] < 64);
	for (unsigned i = 0; i < vm->peer_count; i++)
		REQUIRE(terminated(vm->peer[i], CONFIG_NAME_SIZE) && vm->peer[i][0]);
	REQUIRE(vm->ioapic_version == 0x11 || vm->ioapic_version == 0x20);
	REQUIRE(vm->arguments);
}

static void check(struct config *config)
{
	char error[CONFIG_ERROR_SIZE];

	REQUIRE(config->vm_count <= CONFIG_MAX_VMS && config->module_count <= CONFIG_MAX_MODULES);
	for (unsigned i = 0; i < config->vm_count; i++) {
		check_vm(&config->vm[i]);
		for (unsigned j = 0; j < i; j++)
			REQUIRE(strcmp(config->vm[i].name, config->vm[j].name) != 0);
	}
	for (unsigned i = 0; i < config->module_count; i++)
		REQUIRE(terminated(config->module[i].vm, CONFIG_NAME_SIZE) && config->module[i].string);
	if (!config_check(config, 4, error))
		REQUIRE(terminated(error, sizeof(error)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config config = { 0 };
	char *text = malloc(size + 1), *next, *line, error[CONFIG_ERROR_SIZE];

	memcpy(text, data, size);
	text[size] = '\0';
	for (line = text; line; line = next) {
		bool good;

		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		memset(error, 'x', sizeof(error));
		good = line == text ? config_options(&config, line, error)
		                    : config_add_module(&config, line, text, size, error);
		REQUIRE(good || (terminated(error, sizeof(error)) && error[0]));
	}
	check(&config);
	free(text);
	return 0;
}
