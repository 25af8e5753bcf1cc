# Installing the library, its header, a pkg-config file and the launcher. Included by the Makefile at the root; also works
# alone: make -f ffi/install.mk install PREFIX=/usr/local
#
#   PREFIX   where the files will be used (default /usr/local)
#   DESTDIR  put before PREFIX while copying, for packages
#   CARGO    the cargo to build with; set FAIRGROUND_BUILD=: to install what was built before (with sudo, for example)
#
# Nothing is run on the target: after an installation outside packages, ldconfig makes the library known to the loader.

PREFIX ?= /usr/local
CARGO ?= cargo
INSTALL ?= install

fairground_ffi := $(patsubst %/,%,$(dir $(abspath $(lastword $(MAKEFILE_LIST)))))
fairground_root := $(abspath $(fairground_ffi)/..)
fairground_target := $(or $(CARGO_TARGET_DIR),$(fairground_root)/target)
fairground_version := $(shell sed -n 's/^version = "\(.*\)"/\1/p' $(fairground_root)/Cargo.toml | head -n 1)
fairground_to := $(DESTDIR)$(PREFIX)

FAIRGROUND_BUILD ?= $(CARGO) build --release --manifest-path $(fairground_root)/Cargo.toml -p fairground-ffi

.PHONY: install uninstall
install:
	$(FAIRGROUND_BUILD)
	$(INSTALL) -d "$(fairground_to)/lib/pkgconfig" "$(fairground_to)/include" "$(fairground_to)/bin"
	$(INSTALL) -m 755 "$(fairground_target)/release/libfairground.so" "$(fairground_to)/lib/libfairground.so.0"
	ln -sf libfairground.so.0 "$(fairground_to)/lib/libfairground.so"
	$(INSTALL) -m 644 "$(fairground_ffi)/include/fairground.h" "$(fairground_to)/include/fairground.h"
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(fairground_version)|' "$(fairground_ffi)/fairground.pc.in" \
		> "$(fairground_to)/lib/pkgconfig/fairground.pc"
	chmod 644 "$(fairground_to)/lib/pkgconfig/fairground.pc"
	$(INSTALL) -m 755 "$(fairground_target)/release/fairground" "$(fairground_to)/bin/fairground"

uninstall:
	rm -f "$(fairground_to)/lib/libfairground.so.0" "$(fairground_to)/lib/libfairground.so" \
		"$(fairground_to)/include/fairground.h" "$(fairground_to)/lib/pkgconfig/fairground.pc" \
		"$(fairground_to)/bin/fairground"
