// The operators new and delete: every form, the new_handler protocol, exceptions through our frames.
//
// With a second argument 'limited' the address space is bounded, and the table is about a handler that gives memory back.

#include "rows.h"
#include <cerrno>
#include <climits>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <exception>
#include <malloc.h>
#include <new>
#include <string>
#include <vector>

namespace {

volatile std::size_t absurd_size = PTRDIFF_MAX;

std::size_t absurd()
{
    return absurd_size;
}

struct Symbol {
    const char *name;
    where place;
};

const Symbol symbols[] = {
    {"_Znwm", BOTH},
    {"_Znam", BOTH},
    {"_ZnwmRKSt9nothrow_t", BOTH},
    {"_ZnamRKSt9nothrow_t", BOTH},
    {"_ZnwmSt11align_val_t", BOTH},
    {"_ZnamSt11align_val_t", BOTH},
    {"_ZnwmSt11align_val_tRKSt9nothrow_t", BOTH},
    {"_ZnamSt11align_val_tRKSt9nothrow_t", BOTH},
    {"_ZdlPv", BOTH},
    {"_ZdaPv", BOTH},
    {"_ZdlPvRKSt9nothrow_t", BOTH},
    {"_ZdaPvRKSt9nothrow_t", BOTH},
    {"_ZdlPvm", BOTH},
    {"_ZdaPvm", BOTH},
    {"_ZdlPvSt11align_val_t", BOTH},
    {"_ZdaPvSt11align_val_t", BOTH},
    {"_ZdlPvSt11align_val_tRKSt9nothrow_t", BOTH},
    {"_ZdaPvSt11align_val_tRKSt9nothrow_t", BOTH},
    {"_ZdlPvmSt11align_val_t", BOTH},
    {"_ZdaPvmSt11align_val_t", BOTH},
    // Not in the standard, nor in libstdc++.
    {"_ZdlPvmRKSt9nothrow_t", OURS},
    {"_ZdaPvmRKSt9nothrow_t", OURS},
    {"_ZdlPvmSt11align_val_tRKSt9nothrow_t", OURS},
    {"_ZdaPvmSt11align_val_tRKSt9nothrow_t", OURS},
};

void test_symbols()
{
    for (const Symbol &symbol : symbols) {
        if (!row_begin(symbol.name, symbol.place))
            continue;
        void *address = dlsym(RTLD_DEFAULT, symbol.name);
        Dl_info info;
        EXPECT(address != nullptr && dladdr(address, &info) != 0);
        if (address && dladdr(address, &info))
            EXPECT((std::strstr(info.dli_fname, "libfairground") != nullptr) == (on_fairground != 0));
        row_end();
    }
}

// A form of operator new, and how the alignment comes in. Called, not written as an expression: those may be elided.
struct New {
    const char *name;
    bool aligned, nothrow;
    void *(*call)(std::size_t, std::size_t);
};

std::align_val_t to(std::size_t align)
{
    return static_cast<std::align_val_t>(align);
}

const New news[] = {
    {"new", false, false, [](std::size_t n, std::size_t) { return ::operator new(n); }},
    {"new[]", false, false, [](std::size_t n, std::size_t) { return ::operator new[](n); }},
    {"new nothrow", false, true, [](std::size_t n, std::size_t) { return ::operator new(n, std::nothrow); }},
    {"new[] nothrow", false, true, [](std::size_t n, std::size_t) { return ::operator new[](n, std::nothrow); }},
    {"new aligned", true, false, [](std::size_t n, std::size_t a) { return ::operator new(n, to(a)); }},
    {"new[] aligned", true, false, [](std::size_t n, std::size_t a) { return ::operator new[](n, to(a)); }},
    {"new aligned nothrow", true, true,
     [](std::size_t n, std::size_t a) { return ::operator new(n, to(a), std::nothrow); }},
    {"new[] aligned nothrow", true, true,
     [](std::size_t n, std::size_t a) { return ::operator new[](n, to(a), std::nothrow); }},
};

struct Delete {
    const char *name;
    bool aligned;
    where place;
    void (*call)(void *, std::size_t, std::size_t);
};

using Sized = void (*)(void *, std::size_t, const std::nothrow_t &);
using SizedAligned = void (*)(void *, std::size_t, std::align_val_t, const std::nothrow_t &);

template <class Function> Function function(const char *name)
{
    void *address = dlsym(RTLD_DEFAULT, name);
    if (!address)
        std::abort();
    return reinterpret_cast<Function>(address);
}

const Delete deletes[] = {
    {"delete", false, BOTH, [](void *p, std::size_t, std::size_t) { ::operator delete(p); }},
    {"delete[]", false, BOTH, [](void *p, std::size_t, std::size_t) { ::operator delete[](p); }},
    {"delete nothrow", false, BOTH, [](void *p, std::size_t, std::size_t) { ::operator delete(p, std::nothrow); }},
    {"delete[] nothrow", false, BOTH, [](void *p, std::size_t, std::size_t) { ::operator delete[](p, std::nothrow); }},
    {"delete sized", false, BOTH, [](void *p, std::size_t n, std::size_t) { ::operator delete(p, n); }},
    {"delete[] sized", false, BOTH, [](void *p, std::size_t n, std::size_t) { ::operator delete[](p, n); }},
    {"delete sized nothrow", false, OURS,
     [](void *p, std::size_t n, std::size_t) { function<Sized>("_ZdlPvmRKSt9nothrow_t")(p, n, std::nothrow); }},
    {"delete[] sized nothrow", false, OURS,
     [](void *p, std::size_t n, std::size_t) { function<Sized>("_ZdaPvmRKSt9nothrow_t")(p, n, std::nothrow); }},
    {"delete aligned", true, BOTH, [](void *p, std::size_t, std::size_t a) { ::operator delete(p, to(a)); }},
    {"delete[] aligned", true, BOTH, [](void *p, std::size_t, std::size_t a) { ::operator delete[](p, to(a)); }},
    {"delete aligned nothrow", true, BOTH,
     [](void *p, std::size_t, std::size_t a) { ::operator delete(p, to(a), std::nothrow); }},
    {"delete[] aligned nothrow", true, BOTH,
     [](void *p, std::size_t, std::size_t a) { ::operator delete[](p, to(a), std::nothrow); }},
    {"delete sized aligned", true, BOTH,
     [](void *p, std::size_t n, std::size_t a) { ::operator delete(p, n, to(a)); }},
    {"delete[] sized aligned", true, BOTH,
     [](void *p, std::size_t n, std::size_t a) { ::operator delete[](p, n, to(a)); }},
    {"delete sized aligned nothrow", true, OURS,
     [](void *p, std::size_t n, std::size_t a) {
         function<SizedAligned>("_ZdlPvmSt11align_val_tRKSt9nothrow_t")(p, n, to(a), std::nothrow);
     }},
    {"delete[] sized aligned nothrow", true, OURS,
     [](void *p, std::size_t n, std::size_t a) {
         function<SizedAligned>("_ZdaPvmSt11align_val_tRKSt9nothrow_t")(p, n, to(a), std::nothrow);
     }},
};

const std::size_t sizes[] = {0, 1, 16, 24, 100, 1000, 5000, 40000, 300000, 5 << 20};
const std::size_t aligns[] = {1, 2, 8, 16, 32, 64, 256, 4096, 65536, 2 << 20};

const char *pair_name(const char *make, const char *free)
{
    static char name[100];
    std::snprintf(name, sizeof name, "%s, %s", make, free);
    return name;
}

// Every new with every delete that may free its blocks.
void test_pairs()
{
    for (const New &make : news)
        for (const Delete &free : deletes) {
            if (make.aligned != free.aligned || !row_begin(pair_name(make.name, free.name), free.place))
                continue;
            free.call(nullptr, 10, 64);
            for (std::size_t size : sizes)
                for (std::size_t align : aligns) {
                    errno = ENOTTY;
                    void *block = make.call(size, align), *other = make.call(size, align);
                    EXPECT(block != nullptr && other != nullptr && block != other);
                    EXPECT(reinterpret_cast<std::uintptr_t>(block) % (make.aligned ? align : 16) == 0);
                    std::memset(block, 0x5a, size);
                    free.call(block, size, align);
                    free.call(other, size, align);
                    EXPECT(errno == ENOTTY);
                }
            row_end();
        }
}

// What came of a call that cannot succeed.
enum Outcome { NOTHING, NULL_POINTER, BAD_ALLOC, MINE, INTEGER, OTHER };

struct Mine : std::bad_alloc {
    static int alive;
    Mine() { alive++; }
    Mine(const Mine &other) : std::bad_alloc(other) { alive++; }
    ~Mine() { alive--; }
};
int Mine::alive;

// Destroyed on the way of an exception from the operator to the catch.
struct Witness {
    int &count;
    ~Witness() { count++; }
};

__attribute__((noinline)) Outcome outcome(const New &make, std::size_t size, std::size_t align)
{
    int witnessed = 0;
    // Kept in registers across the call: unwinding must bring them back.
    std::size_t a = size ^ 1, b = size ^ 2, c = size ^ 3, d = size ^ 4;
    Outcome result = NOTHING;
    try {
        Witness witness{witnessed};
        if (make.call(size, align) == nullptr)
            result = NULL_POINTER;
    } catch (const Mine &) {
        result = MINE;
    } catch (const std::bad_alloc &) {
        result = BAD_ALLOC;
    } catch (int) {
        result = INTEGER;
    } catch (...) {
        result = OTHER;
    }
    EXPECT(witnessed == 1);
    EXPECT((a ^ b ^ c ^ d) == (1 ^ 2 ^ 3 ^ 4) && (a ^ 1) == size);
    return result;
}

int handler_calls;

void handler_giving_up()
{
    if (++handler_calls == 3)
        std::set_new_handler(nullptr);
}

void handler_throwing_mine()
{
    if (++handler_calls == 3)
        throw Mine();
}

void handler_throwing_int()
{
    handler_calls++;
    throw 7;
}

struct Handler {
    const char *name;
    std::new_handler handler;
    Outcome throwing;
    int calls;
};

const Handler handlers[] = {
    {"no handler", nullptr, BAD_ALLOC, 0},
    {"a handler that gives up", handler_giving_up, BAD_ALLOC, 3},
    {"a handler that throws its own bad_alloc", handler_throwing_mine, MINE, 3},
    {"a handler that throws an int", handler_throwing_int, INTEGER, 1},
};

void test_failure()
{
    for (const New &make : news)
        for (const Handler &handler : handlers) {
            row_begin(pair_name(make.name, handler.name), BOTH);
            for (int round = 0; round < 50; round++) {
                handler_calls = 0;
                std::set_new_handler(handler.handler);
                EXPECT(outcome(make, absurd(), 64) == (make.nothrow ? NULL_POINTER : handler.throwing));
                EXPECT(handler_calls == handler.calls);
                EXPECT(Mine::alive == 0);
                EXPECT(std::uncaught_exceptions() == 0);
            }
            std::set_new_handler(nullptr);
            row_end();
        }

    for (const New &make : news) {
        if (!make.aligned)
            continue;
        row_begin(pair_name(make.name, "alignment no power of two"), BOTH);
        volatile std::size_t align = 24;
        handler_calls = 0;
        std::set_new_handler(handler_giving_up);
        EXPECT(outcome(make, 100, align) == (make.nothrow ? NULL_POINTER : BAD_ALLOC));
        EXPECT(handler_calls == 0);
        std::set_new_handler(nullptr);
        row_end();
    }

    row_begin("a nothrow new inside a catch keeps the outer exception", BOTH);
    try {
        throw std::string("outer");
    } catch (const std::string &text) {
        std::set_new_handler(handler_throwing_int);
        EXPECT(::operator new(absurd(), std::nothrow) == nullptr);
        std::set_new_handler(nullptr);
        EXPECT(text == "outer");
        try {
            throw;
        } catch (const std::string &again) {
            EXPECT(again == "outer");
        }
    }
    row_end();

    row_begin("containers get bad_alloc", BOTH);
    bool caught = false;
    try {
        std::vector<char> big(absurd() - 1);
    } catch (const std::bad_alloc &) {
        caught = true;
    }
    EXPECT(caught);
    row_end();
}

// The handler's reserve: more than half of what the address space may hold, never touched.
constexpr std::size_t RESERVE = std::size_t(1200) << 20;
void *reserve;

void handler_freeing_the_reserve()
{
    if (++handler_calls > 1)
        std::set_new_handler(nullptr);
    std::free(reserve);
    reserve = nullptr;
}

void test_limited()
{
    for (const New &make : news) {
        row_begin(pair_name(make.name, "a handler that frees memory"), BOTH);
        reserve = std::malloc(RESERVE);
        EXPECT(reserve != nullptr);
        EXPECT(outcome(make, RESERVE, 64) == (make.nothrow ? NULL_POINTER : BAD_ALLOC));
        handler_calls = 0;
        std::set_new_handler(handler_freeing_the_reserve);
        void *block = nullptr;
        try {
            block = make.call(RESERVE, 64);
        } catch (const std::bad_alloc &) {
        }
        EXPECT(block != nullptr);
        EXPECT(handler_calls == 1);
        std::set_new_handler(nullptr);
        std::free(reserve);
        reserve = nullptr;
        std::free(block);
        row_end();
    }
}

} // namespace

int main(int argc, char **argv)
{
    rows_start(argc, argv);
    if (argc > 2 && std::strcmp(argv[2], "limited") == 0) {
        test_limited();
    } else {
        test_symbols();
        test_pairs();
        test_failure();
    }
    return rows_finish();
}
