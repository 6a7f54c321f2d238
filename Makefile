# SPDX-License-Identifier: MIT
# make                 build/sluice, build/libsluice.so.0, build/libsluice.a
# make tests           the unit tests, in build/tests/
# make SAN=address,undefined BUILD=build-asan ...   the same, instrumented
BUILD   ?= build
CC      ?= gcc
PREFIX  ?= /usr/local
SAN     ?=
WERROR  ?=
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
UNIT_SRC := $(wildcard tests/unit/*.c)
UNITS    := $(UNIT_SRC:tests/unit/%.c=$(BUILD)/tests/%)

all: $(BUILD)/sluice $(BUILD)/libsluice.so.0 $(BUILD)/libsluice.a

$(BUILD)/o/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/libsluice.a: $(LIB_OBJ)
	@rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/libsluice.so.0: $(LIB_OBJ) sluice.map
	$(CC) $(LDALL) -shared -Wl,-soname,libsluice.so.0 -Wl,--version-script=sluice.map \
		-Wl,-z,defs -o $@ $(LIB_OBJ) $(LIBS)

$(BUILD)/sluice: $(TOOL_OBJ) $(BUILD)/libsluice.a
	$(CC) $(LDALL) -o $@ $^ $(LIBS)

$(BUILD)/tests/%: tests/unit/%.c tests/ktap.h $(BUILD)/libsluice.a
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -Itests -MMD -MP -MF $(BUILD)/o/tests-$*.d -o $@ $< $(BUILD)/libsluice.a $(LDALL) $(LIBS)

tests: $(UNITS)

clean:
	rm -rf build build-*

.PHONY: all tests clean
-include $(LIB_OBJ:.o=.d) $(TOOL_OBJ:.o=.d) $(wildcard $(BUILD)/o/tests-*.d)
