/* SPDX-License-Identifier: MIT */
/* The operator's lines: what is understood, and that everything else is refused with the word that is wrong. */
/* SOURCES: kernel/config.c kernel/format.c */
#include "kernel/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "arch/x86/arch.h"

static struct config config;
static char error[CONFIG_ERROR_SIZE];
static const char image[] = "image";

static int fresh(void **state)
{
	(void)state;
	memset(&config, 0, sizeof(config));
	memset(error, 0, sizeof(error));
	return 0;
}

static bool add(const char *line)
{
	return config_add_module(&config, line, image, sizeof(image), error);
}

/* The line is refused, with a terminated sentence that has `words` in it, and nothing was added. */
static void refused(const char *line, const char *words)
{
	unsigned vms = config.vm_count, modules = config.module_count;

	memset(error, 'x', sizeof(error));
	assert_false(add(line));
	assert_non_null(memchr(error, '\0', sizeof(error)));
	if (!strstr(error, words))
		fail_msg("%s: says \"%s\", not \"%s\"", line, error, words);
	assert_int_equal(config.vm_count, vms);
	assert_int_equal(config.module_count, modules);
}

static void defaults(void **state)
{
	const struct config_vm *vm = &config.vm[0];

	(void)state;
	assert_true(add("vm name=a"));
	assert_int_equal(config.vm_count, 1);
	assert_string_equal(vm->name, "a");
	assert_int_equal(vm->vcpus, 1);
	assert_int_equal(vm->memory, 64 << 20);
	assert_int_equal(vm->route, BH_ROUTE_NATIVE);
	assert_int_equal(vm->cpu_count, 0);
	assert_int_equal(vm->peer_count, 0);
	assert_false(vm->testdev);
	assert_false(vm->irq0_vcpu0);
	assert_int_equal(vm->ioapic_version, 0x20);
	assert_true(vm->x2apic);
	assert_string_equal(vm->arguments, "");
	assert_ptr_equal(vm->image, image);
	assert_int_equal(vm->image_size, sizeof(image));
}

static void every_key(void **state)
{
	const struct config_vm *vm = &config.vm[0];
	static const uint8_t cpus_wanted[] = { 0, 1, 2, 3, 63 };

	(void)state;
	assert_true(add("/guest.elf  vm\tname=Net-0_x.y vcpus=16 mem=1024G route=ioapic cpus=0,1,2-3,63 "
	                "peers=b,c testdev "
	                "irq0=vcpu0 ioapic=0x11 x2apic=off -- one  two -- three"));
	assert_string_equal(vm->name, "Net-0_x.y");
	assert_int_equal(vm->vcpus, 16);
	assert_true(vm->memory == 1ull << 40);
	assert_int_equal(vm->route, BH_ROUTE_IOAPIC);
	assert_int_equal(vm->cpu_count, 5);
	assert_memory_equal(vm->cpu, cpus_wanted, 5);
	assert_int_equal(vm->peer_count, 2);
	assert_string_equal(vm->peer[1], "c");
	assert_true(vm->testdev);
	assert_true(vm->irq0_vcpu0);
	assert_int_equal(vm->ioapic_version, 0x11);
	assert_false(vm->x2apic);
	assert_string_equal(vm->arguments, "one  two -- three");
	assert_true(add("vm name=b route=vcpu0 budget=65535 x2apic=on ioapic=0x20 mem=1028K --"));
	assert_int_equal(config.vm[1].route, BH_ROUTE_VCPU0);
	assert_int_equal(config.vm[0].budget, 1000);
	assert_int_equal(config.vm[1].budget, 65535);
	assert_int_equal(config.vm[1].memory, 1028 << 10);
	assert_string_equal(config.vm[1].arguments, "");
	assert_true(add("vm name=c --  x "));
	assert_string_equal(config.vm[2].arguments, " x ");
}

static void values(void **state)
{
	static const struct {
		const char *line, *words;
	} bad[] = {
		{ "", "empty" },
		{ "/only/a/file", "empty" },
		{ "guest name=a", "\"guest\"" },
		{ "vm", "name=" },
		{ "vm vcpus=1", "name=" },
		{ "vm name=demo vcpu=4", "unknown key \"vcpu\" (vm line of demo): did you mean vcpus?" },
		{ "vm colour=red", "unknown key \"colour\" (vm line)" },
		{ "vm name=a -", "unknown key \"-\"" },
		{ "vm name", "\"name\" (vm line) needs a value" },
		{ "vm name=", "\"name=\" (vm line) needs a value" },
		{ "vm =a", "unknown key \"\"" },
		{ "vm name=a name=b", "\"name\" (vm line of a) is there twice" },
		{ "vm name=a testdev testdev", "\"testdev\"" },
		{ "vm name=a testdev=1", "\"testdev=1\" (vm line of a) takes no value" },
		{ "vm name=a\x01"
		  "b",
		  "name=a?b" },
		{ "vm name=0123456789abcdef", "1 to 15" },
		{ "vm name=a/b", "\"name=a/b\" (vm line) must be" },
		{ "vm name=a vcpus=0", "1 to 16" },
		{ "vm name=a vcpus=17", "\"vcpus=17\"" },
		{ "vm name=a vcpus=4294967297", "1 to 16" },
		{ "vm name=a vcpus=18446744073709551617", "1 to 16" },
		{ "vm name=a vcpus=1x", "\"vcpus=1x\"" },
		{ "vm name=a vcpus=-1", "\"vcpus=-1\"" },
		{ "vm name=a mem=64", "\"mem=64\"" },
		{ "vm name=a mem=M", "\"mem=M\"" },
		{ "vm name=a mem=1023K", "1M to 1024G" },
		{ "vm name=a mem=1025K", "pages" },
		{ "vm name=a mem=1025G", "1M to 1024G" },
		{ "vm name=a mem=18014398509481985K", "1M to 1024G" },
		{ "vm name=a mem=64m", "\"mem=64m\"" },
		{ "vm name=a route=multy", "\"route=multy\"" },
		{ "vm name=a budget=65536", "0 to 65535" },
		{ "vm name=a cpus=64", "0 to 63" },
		{ "vm name=a cpus=1,", "\"cpus=1,\"" },
		{ "vm name=a cpus=3-2", "\"cpus=3-2\"" },
		{ "vm name=a cpus=-2", "\"cpus=-2\"" },
		{ "vm name=a cpus=1-2-3", "\"cpus=1-2-3\"" },
		{ "vm name=a cpus=0-16", "at most 16" },
		{ "vm name=a peers=b,b", "\"peers=b,b\"" },
		{ "vm name=a peers=,b", "\"peers=,b\"" },
		{ "vm name=a peers=a,b,c,d,e,f,g,h,i", "at most 8" },
		{ "vm name=a irq0=vcpu1", "\"irq0=vcpu1\"" },
		{ "vm name=a ioapic=0x12", "0x11 or 0x20" },
		{ "vm name=a x2apic=yes", "on or off" },
		{ "module", "vm=" },
		{ "module vm=$", "\"vm=$\" (module line)" },
		{ "module vm=a name=b", "unknown key \"name\" (module line of a)" },
		{ "vm name=a averyveryverylongkeythatnobodywouldwriteonpurpose=1", "averyveryverylong" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		refused(bad[i].line, bad[i].words);
}

static void too_many(void **state)
{
	char line[] = "vm name=0";

	(void)state;
	assert_true(add("vm name=0"));
	refused("vm name=0", "two vm lines have the name \"0\"");
	for (char c = '1'; c < '8'; c++) {
		line[sizeof(line) - 2] = c;
		assert_true(add(line));
		assert_true(add("module vm=0"));
	}
	refused("vm name=8", "\"8\"");
	assert_true(add("module vm=0 -- last"));
	refused("module vm=0", "more than 8 module lines");
	assert_string_equal(config.module[7].string, "last");
	assert_string_equal(config.module[0].string, "");
}

static void options(void **state)
{
	static const char *const ways[] = { "end=halt", "/bellhop.elf end=bochs", "end=qemu", " end=reset " };

	(void)state;
	for (int i = 0; i < 4; i++) {
		assert_true(config_options(&config, ways[i], error));
		assert_int_equal(config.end, i);
	}
	config.end = MACHINE_END_HALT;
	assert_true(config_options(&config, "", error));
	assert_true(config_options(&config, "/bellhop.elf", error));
	assert_int_equal(config.end, MACHINE_END_HALT);
	assert_false(config_options(&config, "end=now", error));
	assert_non_null(strstr(error, "\"end=now\" (hypervisor's line)"));
	assert_false(config_options(&config, "verbose", error));
	assert_non_null(strstr(error, "unknown key \"verbose\""));
}

static void check(const char *words, unsigned total)
{
	memset(error, 0, sizeof(error));
	assert_false(config_check(&config, total, error));
	if (!strstr(error, words))
		fail_msg("says \"%s\", not \"%s\"", error, words);
}

static void agreement(void **state)
{
	(void)state;
	check("no VM", 4);
	assert_true(add("vm name=a peers=b cpus=0-3"));
	check("peers= of a, \"b\": there is no such VM", 4);
	check("there is no CPU 3, only 0 to 2", 3);
	assert_true(add("vm name=b"));
	check("does not name it in return", 4);
	strcpy(config.vm[1].peer[0], "a");
	config.vm[1].peer_count = 1;
	assert_true(config_check(&config, 4, error));
	assert_true(add("module vm=z"));
	check("vm=z", 4);
	strcpy(config.module[0].vm, "b");
	assert_true(config_check(&config, 4, error));
	assert_true(add("vm name=c peers=c"));
	check("no peer of itself", 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(defaults, fresh), cmocka_unit_test_setup(every_key, fresh),
		cmocka_unit_test_setup(values, fresh),   cmocka_unit_test_setup(too_many, fresh),
		cmocka_unit_test_setup(options, fresh),  cmocka_unit_test_setup(agreement, fresh),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
