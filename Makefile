# SPDX-License-Identifier: MIT
# Builds, runs and tests Bellhop; `make help` says how. Everything that is made lies under build/.

CC      := gcc
CLANG   := clang
LD      := ld
OBJCOPY := objcopy
PYTHON  := python3 -B
NEED    := tests/tools/need.sh
JOBS    ?= $(shell nproc)
RUNS    ?=
SECONDS ?= 60
MAKEFLAGS += --no-builtin-rules -j$(JOBS)
.SUFFIXES:
.DELETE_ON_ERROR:
.SECONDARY:
.SECONDEXPANSION:

Q   := $(if $(V),,@)
say  = $(if $(V),,@printf '  %-7s %s\n' '$(1)' '$(2)')

WARN := -Wall -Wextra -Werror -Wconversion -Wshadow -Wmissing-prototypes -Wstrict-prototypes \
	-Wswitch-enum -Wvla -Wundef
# No loop may become a call of memset() or memcpy(): the loop could be the one inside memset() itself.
FREE := -std=gnu11 -O2 -g $(WARN) -I. -ffreestanding -fno-tree-loop-distribute-patterns -mgeneral-regs-only \
	-fno-stack-protector -fno-pic -fno-pie -fcf-protection=none -fno-asynchronous-unwind-tables
HV_FLAGS      := $(FREE) -mno-red-zone -mcmodel=small
GUEST64_FLAGS := $(FREE) -m64 -mno-red-zone -mcmodel=small
GUEST32_FLAGS := $(FREE) -m32 -march=i686
HOST_FLAGS    := -std=gnu11 -g -O1 $(WARN) -I. -fno-omit-frame-pointer
SANITIZE      := -fsanitize=address,undefined -fno-sanitize-recover=all
LINK          := -nostdlib -static -z noexecstack -z max-page-size=4096 --build-id=none --fatal-warnings

# --- what there is ------------------------------------------------------------------------------------------

HV_SRC   := $(sort $(shell find boot kernel arch -name "*.[cS]"))
HV_OBJ   := $(HV_SRC:%=build/obj/%.o)
GUEST_LD := guest-stubs/lib/guest.ld
LIB_SRC  := $(wildcard guest-stubs/lib/*.c guest-stubs/lib/*.S)
LIB32    := $(LIB_SRC:%=build/guest32/%.o)
LIB64    := $(LIB_SRC:%=build/guest64/%.o)

# A guest is one guest-stubs/NAME.c or a folder NAME/ (linux/ is a module for Linux); `/* BITS: 32 */`: 32-bit code.
GUESTS   := $(basename $(notdir $(wildcard guest-stubs/*.c))) \
	$(filter-out lib linux,$(sort $(patsubst guest-stubs/%/,%,$(dir $(wildcard guest-stubs/*/*.c)))))
guest_src = $(wildcard guest-stubs/$(1).c guest-stubs/$(1)/*.c guest-stubs/$(1)/*.S)
GUEST32  := $(foreach g,$(GUESTS),$(if $(shell grep -ls 'BITS: 32 ' $(call guest_src,$(g))),$(g)))
GUEST64  := $(filter-out $(GUEST32),$(GUESTS))

# A host program is one file and what its `SOURCES:` comment names; `LIBS:` are words for the linker.
UNIT     := $(patsubst tests/unit/%.c,%,$(wildcard tests/unit/test_*.c))
FUZZ     := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/*.c))
HEADERS  := $(shell find boot kernel arch tests -name "*.h")
listed    = $(shell awk 'FNR > 30 { exit } sub(/.*$(2):/, "") { on = 1 } \
	on { last = sub(/[*][/].*/, ""); sub(/^[ \t]*[*]/, ""); print; if (last) on = 0 }' $(1) 2>/dev/null)
counted   = $(patsubst %,build/cov/%.o,$(call listed,$(1),SOURCES))

.PHONY: all guests run debug iso test unit emu-test test-long stress mutants model bench bench-baseline peers coverage \
	fuzz lint readme format clean help need-build need-run need-test

all: build/bellhop.elf guests
guests: $(GUESTS:%=build/guest/%.elf)

# --- the hypervisor -----------------------------------------------------------------------------------------

build/bellhop.elf: $(HV_OBJ) linker.ld
	$(call say,LD,$@)
	$(Q)$(LD) -m elf_x86_64 $(LINK) -T linker.ld -Map=build/bellhop.map -o $@ $(HV_OBJ)

# $(1): folder of the objects, $(2): the compiler's flags
define compile
build/$(1)/%.o: % | need-build
	$$(call say,CC,$$<)
	@mkdir -p $$(@D)
	$(Q)$(CC) $(2) -MMD -MP -c -o $$@ $$<
endef
$(eval $(call compile,obj,$(HV_FLAGS)))
$(eval $(call compile,guest32,$(GUEST32_FLAGS)))
$(eval $(call compile,guest64,$(GUEST64_FLAGS)))

# --- the guests: multiboot loaders take ELF32, so that 64-bit code is wrapped in one ------------------------

# $(1): name of the guest, $(2): 32 or 64, $(3): how the linker calls that
define guest
build/guest/$(1).elf: $(patsubst %,build/guest$(2)/%.o,$(call guest_src,$(1))) $(LIB$(2)) $(GUEST_LD)
	$$(call say,LD,$$@)
	@mkdir -p $$(@D)
	$(Q)$(LD) -m $(3) $(LINK) -T $(GUEST_LD) -o build/guest/$(1).debug $$(filter %.o,$$^)
	$(Q)$(OBJCOPY) -O elf32-i386 build/guest/$(1).debug $$@
endef
$(foreach g,$(GUEST32),$(eval $(call guest,$(g),32,elf_i386)))
$(foreach g,$(GUEST64),$(eval $(call guest,$(g),64,elf_x86_64)))

# --- running ------------------------------------------------------------------------------------------------

run: all need-run
	@$(PYTHON) -m tests.emu.guest

debug: all need-run
	@$(PYTHON) -m tests.emu.debug

iso: all need-run
	@$(PYTHON) -m tests.emu.iso build/bellhop.iso

# --- tests --------------------------------------------------------------------------------------------------

PROGRAMS := $(UNIT:%=build/unit/%) $(FUZZ:%=build/fuzz/%)

test: all $(PROGRAMS) need-test
	@$(PYTHON) -m tests.all

unit: $(UNIT:%=build/unit/%) need-test
	@$(PYTHON) -m tests.tools.programs

emu-test test-long: all need-run
	@set -f; $(PYTHON) -m $(if $(findstring long,$@),tests.long,tests.emu.run $(SCENARIOS))

stress: all need-run
	@$(PYTHON) -m tests.emu.stress $(SEEDS)

mutants: all need-run
	@$(PYTHON) -m tests.mutants.run $(MUTANTS)

model: need-test
	@$(PYTHON) -m tests.model.run $(CASES)

bench bench-baseline peers: all need-run
	@$(PYTHON) -m tests.bench.$(if $(filter peers,$@),peers.)run $(if $(findstring baseline,$@),--baseline)

lint: all need-test
	@$(PYTHON) -m tests.lint.run

fuzz: $(FUZZ:%=build/fuzz/%) need-test
	@$(PYTHON) -m tests.tools.fuzz $(if $(RUNS),--runs $(RUNS),--seconds $(SECONDS)) $(TARGETS)

coverage: $(UNIT:%=build/coverage/%)
	@$(PYTHON) -m tests.tools.coverage

build/unit/%: tests/unit/%.c $$(call listed,tests/unit/$$*.c,SOURCES) $(HEADERS) | need-test
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(HOST_FLAGS) $(SANITIZE) -o $@ $(filter %.c,$^) -lcmocka $(call listed,$<,LIBS)

build/fuzz/%: tests/fuzz/%.c $$(call listed,tests/fuzz/$$*.c,SOURCES) $(HEADERS) | need-test
	$(call say,CLANG,$<)
	@mkdir -p $(@D)
	$(Q)$(CLANG) $(HOST_FLAGS) -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -o $@ \
		$(filter %.c,$^) $(call listed,$<,LIBS)

# One object per source, for counts in one place; nothing is inlined, for a copy has branches that its constants rule out.
build/cov/%.o: % $(HEADERS) | need-test
	$(call say,COV,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(HOST_FLAGS) --coverage -O0 -w -Dalways_inline=unused -c -o $@ $<

build/coverage/%: build/cov/tests/unit/%.c.o $$(call counted,tests/unit/$$*.c)
	@mkdir -p $(@D)
	$(Q)$(CC) --coverage -o $@ $^ -lcmocka $(call listed,tests/unit/$*.c,LIBS)

# --- the rest -----------------------------------------------------------------------------------------------

need-build need-run need-test: need-%:
	@sh $(NEED) $*

readme:
	@$(PYTHON) tests/tools/readme.py

format:
	$(Q)clang-format -i $$(find boot kernel arch guest-stubs tests -name '*.[ch]')

clean:
	$(Q)rm -rf build

help:
	@sed -n 's/^#: \{0,1\}//p' Makefile

#: make                  the hypervisor (build/bellhop.elf) and the guests (build/guest/*.elf)
#: make run              the demonstration on Bochs; its table as build/run/routes.csv (GUEST=linux: linux.csv)
#: make run GUEST=NAME|FILE [VM="vcpus=2 mem=64M route=native"] [ARGS="..."] [MODULE=FILE] [HV="..."]
#:                       [CPUS=4] [MODEL=corei7_skylake_x] [TIMEOUT=seconds] [EMU=bochs|bochs3|qemu]
#:                       any multiboot ELF file as the guest, or linux (at a terminal a shell); status 0: it ended with 0
#: make debug            the same, stopped before the first instruction, with our symbols loaded
#: make iso              build/bellhop.iso, also an image for a USB stick
#: make test             everything below but coverage, and each fuzz target for a moment
#: make unit             tests/unit/*.c with ASan and UBSan
#: make lint             format, headers, purity, sizes, the ELF file
#: make emu-test         tests/emu/scenarios.ini and tests/linux/scenarios.ini [SCENARIOS="name ..."]
#: make test-long        the scenarios that take too long for make test: every interrupt backend on every CPU model, Linux
#: make stress           random doorbells, routes and IOAPIC entries [SEEDS="1 2"] [EVENTS=n] [CPUS="1 2 4 8"]
#: make mutants          the tests catch what is broken on purpose [MUTANTS="name ..."]
#: make model            tests/model, checked by Spin [CASES="word ..."]
#: make bench            what operations cost, beside KVM and Xen; what doorbells cost by the number of ports
#: make bench-baseline   writes tests/bench/baseline.csv anew
#: make peers            measures KVM and Xen on the same emulated machine, and Bellhop beside them
#: make fuzz             tests/fuzz/*.c [SECONDS=60 | RUNS=n] [TARGETS="name ..."]
#: make coverage         lines and branches of kernel/vic that the unit tests reach
#: make readme           the tables and the curve of README.md and docs from the last make run and make bench
#: make format, make clean; V=1 shows the commands, JOBS=n how many at a time

-include $(HV_OBJ:.o=.d) $(shell find build/guest32 build/guest64 -name '*.d' 2>/dev/null)
