# SPDX-License-Identifier: MIT
# make                 build/sluice, build/libsluice.so.0, build/libsluice.a
# make tests           the unit and fault tests, in build/tests/
# make SAN=address,undefined BUILD=build-asan tests    the same, instrumented
# make lab-suites      the module's tests for tests/lab/run, in build/tests/lab/
# make fuzzers         one libFuzzer program a parser, in build-fuzz/fuzz/
# make module         build/sluice.ko, the kernel module (optional); KDIR, SLC_FAULT=1
# make module-check   its code under sparse, W=1 and checkpatch
# make dkms-install   the module for every kernel of this machine, its udev rule
# make check-floors check-headers
# make install DESTDIR= PREFIX=
BUILD   ?= build
ifeq ($(origin CC),default)
CC      := gcc
endif
PREFIX  ?= /usr/local
LIBDIR  ?= $(PREFIX)/lib
SAN     ?=
WERROR  ?=
DESTDIR ?=
VERSION := $(shell sed -n 's/^.define SLC_VERSION_[A-Z]* //p' \
             include/sluice/sluice.h | paste -sd.)
SONAME  := libsluice.so.0
PKGS    := liburing numa libisal jansson libzstd zlib

WARN    := -Wall -Wextra -Wmissing-prototypes -Wstrict-prototypes -Wshadow \
           -Wvla -Wundef -Wpointer-arith -Wwrite-strings $(if $(WERROR),-Werror)
OPT     ?= -O2
CFLAGS  ?= $(OPT) -g
ALL_CFLAGS := -std=gnu11 -D_GNU_SOURCE -Iinclude -Iuserspace $(WARN) -fPIC \
           -fno-strict-aliasing -fstack-protector-strong \
           $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer) \
           $(shell pkg-config --cflags $(PKGS)) $(CFLAGS)
LIBS    := $(shell pkg-config --libs $(PKGS)) -lpthread
LDALL   := $(if $(SAN),-fsanitize=$(SAN)) $(LDFLAGS)

LIB_SRC  := $(wildcard userspace/*/*.c)
LIB_OBJ  := $(LIB_SRC:%.c=$(BUILD)/o/%.o)
TOOL_SRC := $(wildcard tools/*.c)
TOOL_OBJ := $(TOOL_SRC:%.c=$(BUILD)/o/%.o)
LABS     := $(patsubst tests/lab/suite/%.c,$(BUILD)/tests/lab/%,$(wildcard tests/lab/suite/*.c))
UNITS    := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/*.c))
FAULTS   := $(patsubst tests/fault/%.c,$(BUILD)/tests/fault/%,$(wildcard tests/fault/*.c))
FUZZERS  := $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/%,$(wildcard tests/fuzz/*.c))
DATA     := $(patsubst tests/data/%.c,$(BUILD)/%,$(wildcard tests/data/*.c))
TEST_OBJ := $(BUILD)/o/tests/nthfail.o
# ktap.h compares pointers as numbers.
TEST_CFLAGS := -Itests -I. -Wno-pointer-to-int-cast
WRAPS    := malloc calloc realloc strdup posix_memalign aligned_alloc
# A line "/* WRAP: pread mmap */" in a test adds to them.
wraps     = $(addprefix -Wl$(comma)--wrap=,$(WRAPS) \
              $(shell sed -n 's,^/\* WRAP: \(.*\) \*/$$,\1,p' $(1)))
comma    := ,

all: $(BUILD)/sluice $(BUILD)/$(SONAME) $(BUILD)/libsluice.so $(BUILD)/libsluice.a

$(BUILD)/o/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/libsluice.a: $(LIB_OBJ)
	@rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/$(SONAME): $(LIB_OBJ) sluice.map
	$(CC) $(LDALL) -shared -Wl,-soname,$(SONAME) -Wl,--version-script=sluice.map \
		$(if $(SAN),,-Wl$(comma)-z$(comma)defs) -o $@ $(LIB_OBJ) $(LIBS)

$(BUILD)/libsluice.so: $(BUILD)/$(SONAME)
	@ln -sf $(SONAME) $@

$(BUILD)/sluice: $(TOOL_OBJ) $(BUILD)/libsluice.a
	$(CC) $(LDALL) -o $@ $^ $(LIBS)

# The parts of the command that a test may link: tests/unit/units.c.
$(BUILD)/tests/units: $(BUILD)/o/tools/units.o

$(BUILD)/tests/fault/%: tests/fault/%.c $(TEST_OBJ) $(BUILD)/libsluice.a
	@mkdir -p $(@D) $(BUILD)/o
	$(CC) $(ALL_CFLAGS) $(TEST_CFLAGS) -MMD -MP -MF $(BUILD)/o/tests-fault-$*.d -o $@ \
		$(filter %.c %.o %.a,$^) $(LDALL) $(call wraps,$<) $(LIBS)

$(BUILD)/tests/%: tests/unit/%.c $(TEST_OBJ) $(BUILD)/libsluice.a
	@mkdir -p $(@D) $(BUILD)/o
	$(CC) $(ALL_CFLAGS) $(TEST_CFLAGS) -MMD -MP -MF $(BUILD)/o/tests-$*.d -o $@ \
		$< $(filter %.o,$^) $(BUILD)/libsluice.a $(LDALL) $(call wraps,$<) $(LIBS)

tests: $(UNITS) $(FAULTS)

# The module's tests: static, for a guest that has nothing else.
lab-suites: $(LABS)

# RDMA's library finds its drivers at run time, unless they are linked in.
RXE := -DRDMA_STATIC_PROVIDERS=rxe -libverbs $(wildcard /usr/lib/*/librxe-rdmav*.a) \
	-libverbs -lnl-route-3 -lnl-3
# Parts of the command, for a suite that includes tools/commands.h.
LAB_TOOLS := $(addprefix $(BUILD)/o/tools/,region.o doctor.o fail.o units.o progress.o)
$(BUILD)/tests/lab/%: tests/lab/suite/%.c $(LAB_TOOLS) $(BUILD)/libsluice.a
	@mkdir -p $(@D) $(BUILD)/o
	$(CC) $(ALL_CFLAGS) $(TEST_CFLAGS) -static -MMD -MP -MF $(BUILD)/o/tests-lab-$*.d \
		-o $@ $< $(if $(shell grep infiniband/verbs.h $<),$(RXE)) \
		$(if $(shell grep tools/commands.h $<),$(LAB_TOOLS)) \
		$(if $(shell grep -e '<sluice/' -e tools/ $<),$(BUILD)/libsluice.a -lnuma -ljansson -lz) \
		-luring -lpthread

# Programs that make test data: build/mkdata.
$(DATA): $(BUILD)/%: tests/data/%.c $(BUILD)/libsluice.a
	$(CC) $(ALL_CFLAGS) -MMD -MP -MF $(BUILD)/o/data-$*.d -o $@ $< \
		$(BUILD)/libsluice.a $(LDALL) $(LIBS)

data: $(DATA)

# libFuzzer comes with clang, and the library must be built for it.
FUZZ_SAN := address,undefined,fuzzer-no-link
fuzzers:
	$(MAKE) BUILD=build-fuzz CC=clang SAN=$(FUZZ_SAN) OPT="-O1" fuzz-programs

fuzz-programs: $(FUZZERS)

$(BUILD)/fuzz/%: tests/fuzz/%.c $(BUILD)/libsluice.a
	@mkdir -p $(@D) $(BUILD)/o
	$(CC) $(ALL_CFLAGS) $(TEST_CFLAGS) -fsanitize=fuzzer -MMD -MP -MF $(BUILD)/o/fuzz-$*.d \
		-o $@ $< $(BUILD)/libsluice.a $(LDALL) $(LIBS)

# The kernel module, in a copy so that this tree stays clean. KDIR: headers of
# the running kernel, else the newest that are installed.
KDIR ?= $(firstword $(wildcard /lib/modules/$(shell uname -r)/build) \
          $(shell ls -d /usr/src/linux-headers-*-amd64 2>/dev/null | sort -rV))
MODULE := $(abspath $(BUILD))/module
module:
	@test -n "$(KDIR)" || { echo "no kernel headers: apt-get install linux-headers-amd64, or KDIR="; exit 1; }
	@mkdir -p $(MODULE)/include
	@cp -pr Kbuild driver $(MODULE) && cp -pr include/uapi $(MODULE)/include
	$(MAKE) -C $(KDIR) M=$(MODULE) W=1 modules
	@cp $(MODULE)/driver/sluice.ko $(BUILD)/sluice.ko

module-check:
	./tests/module $(BUILD)/module-check "$(KDIR)"

# With DESTDIR only the files, as a package has them.
DKMS := $(DESTDIR)/usr/src/sluice-$(VERSION)
dkms-install:
	install -d $(DKMS)/driver $(DKMS)/include/uapi $(DESTDIR)/usr/lib/udev/rules.d
	install -m 644 Kbuild $(DKMS)
	install -m 644 driver/Kbuild driver/*.[ch] $(DKMS)/driver
	install -m 644 include/uapi/sluice.h $(DKMS)/include/uapi
	sed 's/@VERSION@/$(VERSION)/' driver/dkms.conf > $(DKMS)/dkms.conf
	install -m 644 driver/60-sluice.rules $(DESTDIR)/usr/lib/udev/rules.d
ifeq ($(DESTDIR),)
	groupadd --system --force sluice
	dkms install -m sluice -v $(VERSION)
	udevadm control --reload || true # where udev runs
endif

dkms-uninstall:
	-$(if $(DESTDIR),,dkms remove -m sluice -v $(VERSION) --all)
	rm -rf $(DKMS) $(DESTDIR)/usr/lib/udev/rules.d/60-sluice.rules

check-floors:
	./tests/floors

check-headers: $(BUILD)/$(SONAME)
	./tests/headers $(BUILD)/$(SONAME)

check:
	./tests/check

$(BUILD)/sluice.pc: include/sluice/sluice.h Makefile FORCE
	@mkdir -p $(@D)
	@printf '%s\n' 'prefix=$(PREFIX)' 'libdir=$(LIBDIR)' \
		'includedir=$${prefix}/include' '' 'Name: sluice' \
		'Description: training shards from storage into pinned memory' \
		'Version: $(VERSION)' 'Cflags: -I$${includedir}' \
		'Libs: -L$${libdir} -lsluice' \
		'Libs.private: $(LIBS)' > $@

install: all $(BUILD)/sluice.pc
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(LIBDIR)/pkgconfig \
		$(DESTDIR)$(PREFIX)/include/sluice
	install -m 755 $(BUILD)/sluice $(DESTDIR)$(PREFIX)/bin/sluice
	install -m 644 include/sluice/*.h $(DESTDIR)$(PREFIX)/include/sluice
	install -m 644 $(BUILD)/libsluice.a $(DESTDIR)$(LIBDIR)/libsluice.a
	install -m 755 $(BUILD)/$(SONAME) $(DESTDIR)$(LIBDIR)/libsluice.so.$(VERSION)
	ln -sf libsluice.so.$(VERSION) $(DESTDIR)$(LIBDIR)/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(LIBDIR)/libsluice.so
	install -m 644 $(BUILD)/sluice.pc $(DESTDIR)$(LIBDIR)/pkgconfig/sluice.pc

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/sluice $(DESTDIR)$(LIBDIR)/libsluice.a \
		$(DESTDIR)$(LIBDIR)/libsluice.so $(DESTDIR)$(LIBDIR)/$(SONAME) \
		$(DESTDIR)$(LIBDIR)/libsluice.so.$(VERSION) \
		$(DESTDIR)$(LIBDIR)/pkgconfig/sluice.pc
	rm -rf $(DESTDIR)$(PREFIX)/include/sluice

clean:
	rm -rf build build-*

FORCE:
.PHONY: all tests lab-suites data fuzzers fuzz-programs module module-check dkms-install \
	dkms-uninstall check check-floors check-headers \
	install uninstall clean FORCE
.SECONDARY: $(TEST_OBJ)
-include $(wildcard $(BUILD)/o/*.d $(BUILD)/o/*/*.d $(BUILD)/o/*/*/*.d)
