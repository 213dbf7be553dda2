/* SPDX-License-Identifier: MIT */
/* Parsers of the operator's lines. Whatever is not understood is refused with the word that was not. */
#include "kernel/config.h"

#include "arch/x86/arch.h"
#include "arch/x86/virt.h"
#include "kernel/log.h"
#include "kernel/string.h"

struct word {
	const char *at; /* NULL: there is none */
	size_t length;
};

/* What `key=value` must be, and where in the line's struct it goes. */
struct key {
	const char *name;
	const char *rule; /* as messages say it; NULL: the key takes no value and sets a bool */
	size_t field;     /* 0 for those that fill several: they get the whole struct */
	bool (*parse)(struct word value, void *field); /* NULL: a number, or the rule is a list of words */
	uint32_t least, most;                          /* of the number; 0: it is none */
	uint8_t value[5];                              /* what the words stand for */
};

struct line {
	const char *kind; /* for messages, with `name` */
	const char *name; /* of the VM, as far as it is known; or "" */
	const struct key *keys;
	unsigned key_count;
	void *target; /* the struct that the keys' fields are of */
	char *error;
	uint32_t seen; /* bit mask of keys */
};

static bool word_is(struct word w, const char *text)
{
	return w.length == strlen(text) && strncmp(w.at, text, w.length) == 0;
}

static bool blank(char c)
{
	return c == ' ' || c == '\t';
}

/* The next word of the line; false at its end. */
static bool next_word(const char **line, struct word *w)
{
	while (blank(**line))
		++*line;
	w->at = *line;
	while (**line && !blank(**line))
		++*line;
	w->length = (size_t)(*line - w->at);
	return w->length;
}

/* Returns what stands before the first mark; *rest becomes what follows it, no word if there is none. */
static struct word cut(struct word *rest, char mark)
{
	struct word first = { rest->at, 0 };

	while (first.length < rest->length && first.at[first.length] != mark)
		first.length++;
	if (first.length < rest->length)
		*rest = (struct word){ first.at + first.length + 1, rest->length - first.length - 1 };
	else
		*rest = (struct word){ NULL, 0 };
	return first;
}

static bool number(struct word w, uint64_t least, uint64_t most, uint64_t *value)
{
	*value = 0;
	for (size_t i = 0; i < w.length; i++) {
		if (w.at[i] < '0' || w.at[i] > '9')
			return false;
		*value = *value * 10 + (uint64_t)(w.at[i] - '0');
		if (*value > most)
			return false;
	}
	return w.length && *value >= least;
}

static bool parse_name(struct word w, void *field)
{
	char *name = field;

	if (w.length == 0 || w.length >= CONFIG_NAME_SIZE)
		return false;
	for (size_t i = 0; i < w.length; i++) {
		char c = w.at[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		      c == '-' || c == '_' || c == '.'))
			return false;
	}
	memcpy(name, w.at, w.length);
	name[w.length] = '\0';
	return true;
}

/* A number, or one of the rule's words, as in "ioapic, vcpu0 or native". */
static bool choose(const struct key *key, struct word value, void *field)
{
	const char *rule = key->rule;
	const uint8_t *meaning = key->value;
	struct word w;
	uint64_t n;

	if (key->most) {
		bool good = number(value, key->least, key->most, &n);

		*(uint32_t *)field = (uint32_t)n;
		return good;
	}
	while (next_word(&rule, &w)) {
		w = cut(&w, ',');
		if (word_is(w, "or"))
			continue;
		if (w.length == value.length && strncmp(w.at, value.at, w.length) == 0) {
			*(uint8_t *)field = *meaning;
			return true;
		}
		meaning++;
	}
	return false;
}

static bool parse_memory(struct word value, void *field)
{
	static const char units[] = "KMG";
	uint64_t *bytes = field;
	unsigned unit = 0, shift;

	value.length--;
	while (units[unit] && units[unit] != value.at[value.length])
		unit++;
	shift = 10 * (unit + 1);
	if (!units[unit] || !number(value, 1, (1ull << 40) >> shift, bytes))
		return false;
	*bytes <<= shift;
	return *bytes >= 1u << 20 && *bytes % PAGE_SIZE == 0;
}

static bool parse_cpus(struct word list, void *field)
{
	struct config_vm *vm = field;

	while (list.at) {
		struct word last = cut(&list, ','), first = cut(&last, '-');
		uint64_t from, to;

		if (!last.at)
			last = first;
		if (!number(first, 0, MAX_CPUS - 1, &from) || !number(last, from, MAX_CPUS - 1, &to))
			return false;
		for (; from <= to; from++) {
			if (vm->cpu_count == VIC_MAX_VCPUS)
				return false;
			vm->cpu[vm->cpu_count++] = (uint8_t)from;
		}
	}
	return true;
}

static bool has_peer(const struct config_vm *vm, const char *name)
{
	for (unsigned i = 0; i < vm->peer_count; i++)
		if (strcmp(vm->peer[i], name) == 0)
			return true;
	return false;
}

static bool parse_peers(struct word list, void *field)
{
	struct config_vm *vm = field;

	while (list.at) {
		char *name = vm->peer[vm->peer_count];

		if (vm->peer_count == CONFIG_MAX_VMS || !parse_name(cut(&list, ','), name) ||
		    has_peer(vm, name))
			return false;
		vm->peer_count++;
	}
	return true;
}

#define NAME_RULE "1 to 15 letters, digits and - _ ."
#define VM(field) offsetof(struct config_vm, field)

_Static_assert(BH_ROUTE_VCPU0 == 1 && BH_ROUTE_NATIVE == 2 && BH_ROUTE_MULTI == 3 && BH_ROUTE_FOLLOW == 4,
               "route=");
_Static_assert(MACHINE_END_BOCHS == 1 && MACHINE_END_QEMU == 2 && MACHINE_END_RESET == 3, "those of end=");
_Static_assert(VIRT_APIC_SOFT == 1 && VIRT_APIC_IPIV == 5, "apic=");
_Static_assert(VIC_MAX_VCPUS == 16 && MAX_CPUS == 64 && CONFIG_MAX_VMS == 8 && CONFIG_MAX_MODULES == 8,
               "rules");

static const struct key vm_keys[] = {
	{ "name", NAME_RULE, VM(name), .parse = parse_name },
	{ "vcpus", "a number from 1 to 16", VM(vcpus), .least = 1, .most = VIC_MAX_VCPUS },
	{ "mem", "1M to 1024G in K, M or G and in whole pages of 4K", VM(memory), .parse = parse_memory },
	{ "route", "ioapic, vcpu0, native, multi or follow", VM(route), .value = { 0, 1, 2, 3, 4 } },
	{ "budget", "a number from 0 to 65535", VM(budget), .most = UINT16_MAX },
	{ "cpus", "at most 16 numbers from 0 to 63, as in 0,2-3", 0, .parse = parse_cpus },
	{ "peers", "at most 8 different names with commas between", 0, .parse = parse_peers },
	{ "irq0", "vcpu0", VM(irq0_vcpu0), .value = { true } },
	{ "ioapic", "0x11 or 0x20", VM(ioapic_version), .value = { 0x11, 0x20 } },
	{ "x2apic", "on or off", VM(x2apic), .value = { true, false } },
	{ "testdev", NULL, .field = VM(testdev) },
};
static const struct key module_keys[] = {
	{ "vm", NAME_RULE, offsetof(struct config_module, vm), .parse = parse_name },
};
static const struct key option_keys[] = {
	{ "end", "halt, bochs, qemu or reset", offsetof(struct config, end), .value = { 0, 1, 2, 3 } },
	{ "apic", "soft, regs, vid, posted or ipiv", offsetof(struct config, apic),
	  .value = { 1, 2, 3, 4, 5 } },
};

#define KEYS(table) (table), sizeof(table) / sizeof((table)[0])

__attribute__((format(printf, 2, 3))) static bool say(char *error, const char *sentence, ...)
{
	va_list args;

	va_start(args, sentence);
	format_list(error, CONFIG_ERROR_SIZE, sentence, args);
	va_end(args);
	return false;
}

/* The word in a message is cut to fit and has no control characters. */
static bool wrong(const struct line *l, const char *what, struct word w, const char *why, const char *rule)
{
	char text[32] = "";

	for (size_t i = 0; i < w.length && i < sizeof(text) - 1; i++)
		text[i] = w.at[i] < ' ' || w.at[i] > '~' ? '?' : w.at[i];
	return say(l->error, "%s\"%s\" (%s%s%s)%s%s", what, text, l->kind, l->name[0] ? " of " : "", l->name,
	           why, rule);
}

static bool parse_word(struct line *l, struct word w)
{
	struct word value = w, name = cut(&value, '=');
	const struct key *key = l->keys, *end = l->keys + l->key_count;
	char hint[32] = "";
	void *field;
	bool good;

	for (; key < end && !word_is(name, key->name); key++)
		if (name.length >= 2 && strncmp(name.at, key->name, 2) == 0)
			format_text(hint, sizeof(hint), ": did you mean %s?", key->name);
	if (key == end)
		return wrong(l, "unknown key ", name, hint, "");
	if (l->seen & 1u << (key - l->keys))
		return wrong(l, "", name, " is there twice", "");
	l->seen |= 1u << (key - l->keys);
	field = (char *)l->target + key->field;
	if (!key->rule) {
		*(bool *)field = true;
		return !value.at || wrong(l, "", w, " takes no value", "");
	}
	if (value.length == 0)
		return wrong(l, "", w, " needs a value: ", key->rule);
	good = key->parse ? key->parse(value, field) : choose(key, value, field);
	return good || wrong(l, "", w, " must be ", key->rule);
}

/* All words up to the end or, if that may be there, "--"; *rest is what follows that and one blank, or "". */
static bool parse_line(struct line *l, const char *at, const char **rest)
{
	struct word w;

	while (next_word(&at, &w)) {
		if (rest && word_is(w, "--")) {
			*rest = blank(*at) ? at + 1 : at;
			break;
		}
		if (!parse_word(l, w))
			return false;
	}
	return true;
}

/* A module's line: its first key must be there. `count`: lines of this kind before it. */
static bool parse_module(struct line *l, const char *at, const char **rest, unsigned count)
{
	if (!parse_line(l, at, rest))
		return false;
	if (l->name[0] == '\0')
		return say(l->error, "a %s has no %s=", l->kind, l->keys[0].name);
	if (count == CONFIG_MAX_VMS)
		return say(l->error, "more than 8 %ss: the one of \"%s\" is too much", l->kind, l->name);
	return true;
}

static const struct config_vm *find_vm(const struct config *config, const char *name)
{
	for (unsigned i = 0; i < config->vm_count; i++)
		if (strcmp(config->vm[i].name, name) == 0)
			return &config->vm[i];
	return NULL;
}

/* Boot loaders differ in whether they pass the file's own name first. */
static const char *skip_file(const char *line)
{
	const char *after = line;
	struct word file;

	return next_word(&after, &file) && file.at[0] == '/' ? after : line;
}

bool config_options(struct config *config, const char *line, char *error)
{
	struct line l = { "hypervisor's line", "", KEYS(option_keys), config, .error = error };

	return parse_line(&l, skip_file(line), NULL);
}

bool config_add_module(struct config *config, const char *line, const void *image, size_t size, char *error)
{
	struct config_vm vm = {
		.vcpus = 1,
		.memory = 64u << 20,
		.route = BH_ROUTE_NATIVE,
		.budget = 1000,
		.ioapic_version = 0x20,
		.x2apic = true,
		.arguments = "",
		.image = image,
		.image_size = size,
	};
	struct config_module module = { .string = "", .image = image, .image_size = size };
	struct line vm_line = { "vm line", vm.name, KEYS(vm_keys), &vm, .error = error };
	struct line module_line = { "module line", module.vm, KEYS(module_keys), &module, .error = error };
	struct line other_line = { .kind = "a module2 line", .name = "", .error = error };
	struct word kind;

	line = skip_file(line);
	if (!next_word(&line, &kind))
		return say(error, "a module2 line is empty: write \"vm name=...\" after the file");
	if (word_is(kind, "vm")) {
		if (!parse_module(&vm_line, line, &vm.arguments, config->vm_count))
			return false;
		if (find_vm(config, vm.name))
			return say(error, "two vm lines have the name \"%s\"", vm.name);
		config->vm[config->vm_count++] = vm;
		return true;
	}
	if (word_is(kind, "module")) {
		if (!parse_module(&module_line, line, &module.string, config->module_count))
			return false;
		config->module[config->module_count++] = module;
		return true;
	}
	return wrong(&other_line, "", kind, ": it must begin with ", "vm or module");
}

static bool check_vm(const struct config *config, const struct config_vm *vm, unsigned total, char *error)
{
	for (unsigned i = 0; i < vm->cpu_count; i++)
		if (vm->cpu[i] >= total)
			return say(error, "cpus= of %s: there is no CPU %u, only 0 to %u", vm->name,
			           vm->cpu[i], total - 1);
	for (unsigned i = 0; i < vm->peer_count; i++) {
		const struct config_vm *peer = find_vm(config, vm->peer[i]);
		const char *why = NULL;

		if (!peer)
			why = "there is no such VM";
		else if (peer == vm)
			why = "a VM is no peer of itself";
		else if (!has_peer(peer, vm->name))
			why = "that VM does not name it in return";
		if (why)
			return say(error, "peers= of %s, \"%s\": %s", vm->name, vm->peer[i], why);
	}
	return true;
}

bool config_check(struct config *config, unsigned total, char *error)
{
	if (config->vm_count == 0)
		return say(error, "no VM is configured: add a line \"module2 /FILE vm name=NAME\"");
	for (unsigned i = 0; i < config->vm_count; i++)
		if (!check_vm(config, &config->vm[i], total, error))
			return false;
	for (unsigned i = 0; i < config->module_count; i++)
		if (!find_vm(config, config->module[i].vm))
			return say(error, "a module line has vm=%s, and there is no such VM",
			           config->module[i].vm);
	return true;
}
